"""FVD of two folders, and the sync confidence of single videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentsync.checkpoint.registry import I3D_FILE
from latentsync.cli import fvd, sync_confidence
from latentsync.errors import DataError
from tests.evaluation.world import SYNCNET, talker, write_talker


class _Colors(nn.Module):
    """In place of I3D: mean colors, and whether the pixels go below 0."""

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        return torch.cat([x.mean(dim=(2, 3, 4)), (x.amin() < 0).float().view(1, 1)], dim=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("single")
    for number in range(2):
        write_talker(root / "truth" / f"{number}.mp4", talker(number, seconds=1.6, size=96))
        write_talker(root / "results" / f"{number}.mp4", talker(number + 2, seconds=1.6, size=96))
    write_talker(root / "results" / "short.mp4", talker(4, seconds=1.0, size=96))
    torch.jit.script(_Colors()).save(root / I3D_FILE)
    return root


def score(folders: Path, results: str, *more: str) -> dict:
    target = folders / "fvd.json"
    arguments = ["--results", str(folders / results), "--truth", str(folders / "truth"), "--auxiliary", str(folders)]
    assert fvd.main([*arguments, "--json_path", str(target), *more]) == 0
    return json.loads(target.read_text())


def test_fvd_of_equal_folders_is_0_and_of_others_is_not(folders, capsys) -> None:
    assert score(folders, "truth")["fvd"] == pytest.approx(0, abs=1e-6)
    found = score(folders, "results")
    assert found["fvd"] > 1e-4
    assert (found["results"], found["truths"]) == (2, 2)
    ((path, reason),) = found["failed"].items()
    assert path.endswith("short.mp4")
    assert "frames 20 to 35" in reason
    published = score(folders, "results", "--range", "published")
    assert published["fvd"] == pytest.approx(found["fvd"] / 4, rel=1e-3)  # half the range, squared
    capsys.readouterr()
    (folders / "one").mkdir()
    arguments = ["--results", str(folders / "one"), "--truth", str(folders / "truth"), "--auxiliary", str(folders)]
    assert fvd.main(arguments) == DataError.exit_code
    assert "two videos" in capsys.readouterr().err


def test_confidence_counts_what_it_cannot_judge(folders, tmp_path, capsys) -> None:
    write_talker(folders / "conf" / "good.mp4", talker(1, seconds=2.4, size=128))
    write_talker(folders / "conf" / "mute.mp4", talker(1, seconds=1.0, size=96), audio=False)
    arguments = ["--videos_dir", str(folders / "conf"), "--initial_model", str(SYNCNET), "--auxiliary", str(tmp_path)]
    assert sync_confidence.main([*arguments, "--json_path", str(tmp_path / "c.json")]) == 1
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["videos"], found["failed"]) == (2, 1)
    assert found["mean_confidence_failures_as_0"] == pytest.approx(found["mean_confidence"] / 2)
    good, mute = found["rows"]
    assert good["offset"] == 0
    assert "no sound" in mute["failed"]
    assert "confidence" in capsys.readouterr().out

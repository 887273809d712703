"""The command: two runs agree to the last byte, whatever is wrong with single files, and failures count."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch

from latentsync.cli import evaluate, sync_confidence
from latentsync.cli.dub_set import make_pairs
from latentsync.errors import DataError, WeightsMissingError
from latentsync.evaluation.recordings import find_pairs
from latentsync.evaluation.settings import RESULT
from latentsync.media.threads import codec_threads
from tests.evaluation.world import SYNCNET, talker, write_talker


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Three truths; of the results one is fine, one is no video, one is missing, and one has no truth."""
    root = tmp_path_factory.mktemp("folders")
    clip = talker(0, seconds=1.4, size=96)
    for name in ("a", "sub/b", "c"):
        write_talker(root / "truth" / f"{name}.mp4", clip)
    write_talker(root / "results" / "a.mp4", clip, quality=30)
    write_talker(root / "results" / "d.mp4", clip)
    (root / "results" / "sub").mkdir()
    (root / "results" / "sub" / "b.mp4").write_text("words")
    return root


def command(root: Path, output: Path, *more: str) -> list[str]:
    empty = root / "no_weights"
    return ["--results", str(root / "results"), "--truth", str(root / "truth"), "--output", str(output),
            "--auxiliary", str(empty), "--syncnet", str(SYNCNET), *more]  # fmt: skip


def test_two_runs_write_the_same_bytes_and_count_what_failed(folders, tmp_path, capsys) -> None:
    threads = torch.get_num_threads(), cv2.getNumThreads(), codec_threads()
    for name, workers in (("one", "1"), ("two", "2")):
        assert evaluate.main(command(folders, tmp_path / name, "--workers", workers)) == 0
    assert (torch.get_num_threads(), cv2.getNumThreads(), codec_threads()) == threads
    for file in ("evaluation.json", "clips.csv", "summary.csv", "evaluation.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    values = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert [clip["name"] for clip in values["clips"]] == ["a", "c", "d", "sub/b"]
    failed = {each["clip"]: each["reason"] for each in values["failures"]}
    assert set(failed) == {"c", "sub/b"}  # what is too short for a figure in the truth as well is no failure
    assert "no file of this name" in failed["c"]
    assert "unreadable" in failed["sub/b"]
    summary = values["summary"][RESULT]["stablesyncnet_cosine"]
    assert (summary["clips"], summary["measured"], summary["failed"]) == (4, 2, 2)
    assert summary["mean_with_failures"] == pytest.approx(summary["mean"] / 2)
    assert len(values["clips"][0]["files"][RESULT]) == 64
    assert set(values["weights"]) == {SYNCNET.name}
    assert sorted(path.name for path in (tmp_path / "one" / "stills").iterdir()) == ["a.png", "c.png", "sub__b.png"]
    assert "4 clips, 2 with something" in capsys.readouterr().out


def test_pairs_go_by_name_and_nothing_is_left_out(folders) -> None:
    pairs = {each.name: each for each in find_pairs(folders / "results", folders / "truth", None)}
    assert pairs["c"].result is None
    assert pairs["d"].truth is None
    assert pairs["sub/b"].source == pairs["sub/b"].truth == folders / "truth" / "sub" / "b.mp4"


def test_folders_with_nothing_in_them_are_refused(folders, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Neither"):
        find_pairs(tmp_path / "empty", tmp_path / "empty", None)
    assert len(find_pairs(tmp_path / "empty", folders / "truth", None)) == 3  # all of them without a result
    assert (
        evaluate.main(["--results", str(tmp_path / "none"), "--truth", str(folders / "truth")]) == DataError.exit_code
    )
    assert "no folder" in capsys.readouterr().err
    arguments = command(folders, tmp_path / "out", "--setting", "cross-sync")
    assert evaluate.main(arguments) == DataError.exit_code
    assert "--source" in capsys.readouterr().err


def test_two_files_of_one_name_are_refused(tmp_path) -> None:
    for suffix in ("mp4", "mov"):
        (tmp_path / f"a.{suffix}").touch()
    with pytest.raises(DataError, match="one name"):
        find_pairs(tmp_path, tmp_path, None)


def test_confidence_needs_its_weights(folders, tmp_path, capsys) -> None:
    arguments = ["--videos_dir", str(folders / "results"), "--auxiliary", str(tmp_path)]
    assert sync_confidence.main(arguments) == WeightsMissingError.exit_code
    assert "latentsync weights" in capsys.readouterr().err


def test_a_set_is_paired_by_seed_and_never_with_itself() -> None:
    videos = {name: Path(f"{name}.mp4") for name in "abcdefg"}
    one, two, other = (make_pairs(videos, videos, "shuffled", seed) for seed in (42, 42, 43))
    assert one == two != other
    assert len({pair.name for pair in one}) == 7
    assert all(pair.video != pair.audio for pair in one[:-1])
    audio = {"a": Path("a.wav"), "b_audio": Path("b_audio.wav")}
    assert [pair.name for pair in make_pairs(videos, audio, "name", 0)] == ["a", "b"]
    with pytest.raises(DataError):
        make_pairs({}, videos, "shuffled", 0)

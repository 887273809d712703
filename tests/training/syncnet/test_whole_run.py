"""Whole runs of the sync-network training, in processes of their own: killed and resumed, one and two processes."""

from __future__ import annotations

import csv
import json
import socket
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import load_syncnet
from tests.data.clips import write_corrupt_clip, write_talking_clips
from tests.forked import end_of, start_module
from tests.training.tiny import tiny_settings


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "clips"  # its name decides which clips are for validation
    paths = write_talking_clips(folder, 8)
    write_corrupt_clip(folder / "corrupt.mp4", paths[0])
    (folder / "text.mp4").write_text("not a video")
    return folder


@dataclass
class Run:
    """A process that trains, and what it says."""

    process: ForkServerProcess
    said: Path


def start(folder: Path, clips: Path, name: str, *arguments: str, environment=None, **sections) -> Run:
    settings = folder / f"{name}.json"
    sections.setdefault("data", {})
    settings.write_text(json.dumps(tiny_settings(folder / name, clips, **sections)))
    environment = environment or {}
    said = folder / f"said by {name} {environment.get('RANK', '')}"
    line = [str(settings), *arguments]
    return Run(start_module("tests.training.run_tiny", line, said=said, **environment), said)


def finish(*runs: Run) -> list[str]:
    """Their messages; fails if one of them did not end well."""
    for run in runs:
        assert end_of(run.process) == 0, run.said.read_text()[-3000:]
    return [run.said.read_text() for run in runs]


def result(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / name / "tiny" / "weights" / "last.safetensors")


def column(folder: Path, name: str, table: str, key: str) -> list[float]:
    with (folder / name / "tiny" / f"{table}.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file)]


def two_processes(folder: Path, clips: Path, name: str, **sections) -> list[Run]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [
        start(folder, clips, name, environment=common | {"RANK": str(r), "LOCAL_RANK": str(r)}, **sections)
        for r in range(2)
    ]


def test_killed_and_resumed_gives_the_weights_of_an_undisturbed_run(clips, tmp_path):
    whole = start(tmp_path, clips, "whole")
    killed = start(tmp_path, clips, "parts", "13")
    assert end_of(killed.process) == -9
    checkpoints = tmp_path / "parts" / "tiny" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir())[-1] == "step_000000010"
    finish(start(tmp_path, clips, "parts"), whole)
    undisturbed, resumed = result(tmp_path, "whole"), result(tmp_path, "parts")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
    for table, key in (("train", "loss"), ("validation", "accuracy")):
        assert column(tmp_path, "parts", table, key) == column(tmp_path, "whole", table, key)
    assert len(column(tmp_path, "parts", "train", "loss")) == 20
    load_syncnet(tmp_path / "parts" / "tiny" / "weights" / "best.safetensors")


def test_two_processes_with_a_corrupt_clip_train_like_one(clips, tmp_path):
    still = {"model": {name: {"dropout": 0.0} for name in ("audio_encoder", "visual_encoder")}}
    one = start(tmp_path, clips, "one", **sections(still, batch_size=4))
    messages = finish(one, *two_processes(tmp_path, clips, "two", **sections(still, batch_size=2)))
    for table, key, tolerance in (("train", "loss", 1e-3), ("train", "grad_norm", 3e-2), ("validation", "loss", 1e-3)):
        both = [column(tmp_path, name, table, key) for name in ("two", "one")]
        assert both[0] == pytest.approx(both[1], rel=tolerance), key
    report = json.loads((tmp_path / "two" / "tiny" / "clips.json").read_text())
    assert [Path(entry["path"]).name for entry in report["unusable"]] == ["text.mp4"]
    replaced = json.loads((tmp_path / "two" / "tiny" / "replaced_clips.json").read_text())
    assert [Path(entry["path"]).name for entry in replaced] == ["corrupt.mp4"]
    assert "corrupt.mp4" in messages[1]


def sections(still: dict, batch_size: int) -> dict:
    """The settings of both sides of the comparison.

    No dropout, which draws differently for other batches. A learning rate that hardly moves the weights, as Adam's
    first steps go by the signs of the gradients, and those of gradients near zero are rounding. The gradient of a
    pair's loss is the reciprocal of its similarity, so that a pair near zero enlarges the rounding: the norms of the
    gradients (37 to 560 here) agree within 0.4 %. Gradients that were summed or not shared would be far outside 3 %.
    """
    from tests.training.tiny import MODEL

    model = {name: MODEL[name] | still["model"][name] for name in MODEL}
    run = {"max_train_steps": 10, "validation_steps": 5}
    return {"data": {"batch_size": batch_size}, "run": run, "model": model, "optimizer": {"lr": 1e-7}}

"""What the validations of a U-Net show: a validation video, or windows of held-out clips."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from latentsync.config import load_config
from latentsync.errors import ConfigError, GenerationError, NoFaceError, TrainingError, VideoError
from latentsync.face.detections_file import write_detections
from latentsync.media.contact_sheet import NAME_WIDTH, TILE
from latentsync.media.video import VideoFile
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.alarm import Alarm
from latentsync.training.unet.run import train_unet
from latentsync.training.unet.task import UNetTask
from latentsync.training.unet.validation_video import _ModelRate
from latentsync.types import ArrayFrame
from tests.data.talkers.talker_video import write_talker_video
from tests.training.tiny_unet import ROOT, write_networks

SMALL = [
    "data.talkers.train_clips=2", "data.talkers.validation_clips=2", "data.talkers.seconds=2.0", "data.batch_size=1",
    "data.num_val_samples=1", "data.resolution=64", "run.log_steps=1", "run.max_train_steps=1",
    "run.inference_steps=1", "run.guidance_scale=1", "model.block_out_channels=[32,32,32]",
    "data.num_frames=16", "model.in_channels=13", "model.out_channels=4",  # of the stand-ins
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("validation")


@pytest.fixture(scope="module")
def networks(folder) -> list[str]:
    return write_networks(folder / "networks", width=128)


@pytest.fixture(scope="module")
def video_and_faces(folder) -> tuple[Path, Path]:
    return write_talker_video(folder / "video_and_faces", fps=30)


def recipe_of(folder: Path, networks: list[str], *overrides: str) -> UNetRecipe:
    place = f"data.train_output_dir={folder}/out"
    return load_config(ROOT / "configs/unet/talkers_stage1.yaml", UNetRecipe, [*networks, *SMALL, place, *overrides])


def validation(run: Path) -> list[dict[str, float]]:
    with (run / "validation.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_the_validation_video_is_dubbed_scored_and_shown(folder, networks, video_and_faces):
    video, faces = video_and_faces
    named = [f"data.val_video_path={video}", f"data.val_detector={faces}"]
    assert train_unet(recipe_of(folder, networks, *named), "video") is TrainingResult.FINISHED
    run = folder / "out" / "video"
    for step, row in zip((0, 1), validation(run), strict=True):
        result = VideoFile(run / "validation" / f"step_{step:09d}.mp4")
        assert (result.info.fps, result.info.n_frames) == (30, 36)
        assert len(result.info.audio) == 1
        sheet = cv2.imread(str(run / "validation" / f"step_{step:09d}.png"))
        source, dubbed = (sheet[top : top + TILE, NAME_WIDTH:].astype(int) for top in (0, sheet.shape[0] // 2))
        assert np.abs(source - dubbed).mean() > 2  # an untrained network paints something else
        assert 0 < row["sync_cosine"] < 1
        assert abs(row["sync_offset"]) <= 15
    assert (run / "charts.png").exists()


@pytest.mark.parametrize("frames", [16, 1])
def test_without_a_video_held_out_clips_are_shown_with_the_audio_of_others(folder, networks, frames):
    name, windows = f"clips_{frames}", f"data.num_frames={frames}"
    assert train_unet(recipe_of(folder, networks, windows), name) is TrainingResult.FINISHED
    run = folder / "out" / name
    sheet = cv2.imread(str(run / "validation" / "step_000000001.png"))
    assert sheet.shape == (4 * (TILE + 2), NAME_WIDTH + 8 * TILE, 3)
    assert all(0 < row["sync_cosine"] < 1 for row in validation(run))
    again = recipe_of(folder, networks, windows, "run.max_train_steps=2", "run.guidance_scale=1.5")
    assert train_unet(again, name) is TrainingResult.FINISHED  # how images are made may change


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"data.val_video_path": "nowhere.mp4"}, VideoError),
        ({"data.val_detector": "nobody.npz"}, NoFaceError),
        ({"data.val_video_path": "null", "data.val_audio_path": "audio.wav"}, ConfigError),
    ],
)
def test_a_video_that_will_not_do_ends_the_run_before_it_begins(folder, networks, video_and_faces, changed, error):
    write_detections(folder / "nobody.npz", {number: [] for number in range(36)})
    settings = {"data.val_video_path": video_and_faces[0], "data.val_detector": video_and_faces[1]} | changed
    if settings["data.val_detector"] == "nobody.npz":
        settings["data.val_detector"] = folder / "nobody.npz"
    with pytest.raises(error):
        train_unet(recipe_of(folder, networks, *(f"{key}={value}" for key, value in settings.items())), "refused")
    assert not (folder / "out" / "refused").exists()


def test_a_video_that_fails_later_does_not_end_the_run(folder, networks, video_and_faces, monkeypatch):
    def fail(*arguments):
        raise GenerationError("made up")

    monkeypatch.setattr("latentsync.inference.job.validation_video.ValidationVideo.dub", fail)
    named = [f"data.val_video_path={video_and_faces[0]}", f"data.val_detector={video_and_faces[1]}"]
    assert train_unet(recipe_of(folder, networks, *named), "failing") is TrainingResult.FINISHED
    notes = (folder / "out" / "failing" / "notes.jsonl").read_text().splitlines()
    assert "Step 0 has no validation images: made up" in json.loads(notes[0])["note"]
    rows = validation(folder / "out" / "failing")
    assert len(rows) == 2
    assert all(math.isnan(row["sync_cosine"]) and row["loss"] > 0 for row in rows)


def test_a_run_that_is_worse_than_its_start_says_so_and_can_stop():
    task = UNetTask.__new__(UNetTask)
    task._recipe = UNetRecipe(model={})
    task._alarm = type("Always", (), {"check": lambda self, step, rows: [Alarm("much worse", worse_than_start=True)]})()
    task._notes = Notes()
    task.watch(5, {})
    assert task._notes.take() == ["much worse"]
    task._recipe.run.stop_if_worse = True
    with pytest.raises(TrainingError, match="much worse"):
        task.watch(6, {})


@pytest.mark.parametrize("fps", [10, 25, 30, 60])
def test_frames_of_any_rate_are_seen_25_times_a_second(fps):
    seen = []
    rate = _ModelRate(lambda place, frame, placement: seen.append((place, frame.index)))
    for index in range(fps):
        rate.push(ArrayFrame(index, Fraction(index, fps), np.zeros((1, 1, 3), np.uint8)), None)
    rate.close(Fraction(fps))
    assert seen == [(place, place * fps // 25) for place in range(25)]

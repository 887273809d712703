"""The models that come with the repository: when they run, that the ordinary loaders read them, and what they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentsync.cli.dub import main
from latentsync.inference import weights
from latentsync.inference.loading import load_pipeline
from latentsync.inference.weights import BUILTIN_NOTES, WeightPaths, model_settings
from latentsync.media.video import VideoFile
from latentsync.places import BUILTIN

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets"
LARGEST = 40 * 2**20  # bytes of all files together


@pytest.fixture
def no_published_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    return tmp_path


def test_they_run_only_where_nothing_else_is_named_or_there(no_published_weights):
    assert WeightPaths.choose().are_builtin
    assert not WeightPaths.choose(directory=no_published_weights).are_builtin
    assert not WeightPaths.choose(unet=no_published_weights / "mine.pt").are_builtin
    (no_published_weights / "whisper").mkdir()
    (no_published_weights / "whisper" / "tiny.pt").touch()  # half a download is no reason to run something else
    assert not WeightPaths.choose().are_builtin


def test_the_ordinary_loaders_read_them():
    weights = WeightPaths.builtin()
    weights.check()
    settings = model_settings(weights.unet, None)
    assert (settings.resolution, settings.num_frames, settings.notes) == (128, 16, BUILTIN_NOTES)
    load_pipeline(weights, settings)


def test_they_are_small():
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*") if path.is_file()) <= LARGEST


def test_the_sample_is_dubbed_and_its_user_is_told_by_what(no_published_weights, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    code = main(
        [
            *("--video_path", str(SAMPLE / "sample_video.mp4"), "--audio_path", str(SAMPLE / "sample_audio.wav")),
            *("--detector", str(SAMPLE / "sample_faces.npz"), "--video_out_path", str(output)),
            *("--inference_steps", "1", "--guidance_scale", "1", "--dry-run"),
        ]
    )
    assert code == 0
    told = capsys.readouterr().out
    assert "latentsync weights" in told
    assert "expect a soft mouth" in told


@pytest.mark.slow
def test_the_mouth_of_the_sample_changes_and_nothing_else_does(no_published_weights, tmp_path):
    output = tmp_path / "out.mkv"
    arguments = [
        *("--video_path", str(SAMPLE / "sample_video.mp4"), "--audio_path", str(SAMPLE / "sample_audio.wav")),
        *("--detector", str(SAMPLE / "sample_faces.npz"), "--video_out_path", str(output), "--codec", "ffv1"),
    ]
    assert main([*arguments, "--quiet"]) == 0
    pairs = zip(VideoFile(SAMPLE / "sample_video.mp4").frames(), VideoFile(output).frames(), strict=True)
    change = np.mean([np.abs(a.pixels.astype(int) - b.pixels.astype(int)).mean(axis=-1) for a, b in pairs], axis=0)
    assert change.max() > 5
    assert (change[: change.shape[0] // 4] <= 1).all()

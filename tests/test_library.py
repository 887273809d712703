"""The program from Python: networks loaded once, files or frames out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latentsync
from latentsync.errors import WeightsMissingError
from latentsync.face.detections_file import write_detections
from latentsync.inference import loading
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

ROOT = Path(__file__).parents[1]
FRAMES = 20


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A drawn video, its faces in a file, 0.6 s of audio, and tiny weights."""
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info, EncodingOptions(crf=10))
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    write_wav(folder / "audio.wav", tone(0.6), 16_000)
    write_checkpoints(folder / "weights")
    return folder


@pytest.fixture
def loads(monkeypatch):
    """The pipelines that were loaded."""
    seen, real = [], loading.load_pipeline

    def load_pipeline(*arguments):
        seen.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(loading, "load_pipeline", load_pipeline)
    return seen


def test_networks_are_loaded_once_and_frames_are_those_of_the_file(media, tmp_path, loads):
    pipeline = latentsync.load(media / "weights", steps=1, guidance_scale=1.0, device="cpu")
    assert len(loads) == 1 and pipeline.settings.resolution == 64
    options = replace(pipeline.options(), check_output=False, seed=5)
    video, audio, faces = (media / name for name in ("video.mp4", "audio.wav", "faces.npz"))
    request = pipeline.request(video, audio, tmp_path / "a.mkv", options=options, faces=faces)
    report = pipeline.run(replace(request, encoding=EncodingOptions("ffv1")))
    assert report.record.frames == 15 and report.options["seed"] == 5
    again = pipeline.dub(str(video), str(audio), str(tmp_path / "b.mp4"), options=options, faces=str(faces))
    assert again.record.frames == 15 and (tmp_path / "b.mp4").is_file()

    frames = list(pipeline.frames(video, audio, options=options, faces=faces))
    given = list(pipeline.frames(VideoFile(video), read_audio(audio), options=options, faces=faces))
    written = list(VideoFile(tmp_path / "a.mkv").frames())
    assert len(loads) == 1
    assert [frame.time for frame in frames] == [frame.time for frame in written]
    for one, other, third in zip(frames, given, written, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.abs(one.pixels.astype(int) - third.pixels).mean() < 2  # through Y'CbCr of 8 bits


def test_weights_that_are_not_there_are_an_error_at_once(tmp_path):
    with pytest.raises(WeightsMissingError):
        latentsync.load(tmp_path)


def test_the_names_are_there_and_load_nothing_before_they_are_used():
    assert {*latentsync.__all__} <= {*dir(latentsync)}
    assert all(getattr(latentsync, name) is not None for name in latentsync.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = latentsync.nothing
    code = "import sys, latentsync; sys.exit(any(name.startswith('latentsync.lib') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

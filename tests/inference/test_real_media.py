"""Real clips from file to file with a real detector and tiny untrained networks: all but the mouth must be right.

Minutes of work: run with ``--slow``.
"""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from functools import reduce

import cv2
import numpy as np
import pytest

from latentsync.cli.dub import main
from latentsync.face.align import FaceAligner
from latentsync.face.backends import load_detector
from latentsync.face.mask import load_mask
from latentsync.face.selection import FaceSelector
from latentsync.face.tracking import TrackingSettings
from latentsync.face.tracks import FaceTracks
from latentsync.inference.timeline import frame_count
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from tests.golden import shared_file
from tests.inference.tiny_weights import RESOLUTION, write_checkpoints
from tests.media.synthetic import read_pcm, tone, write_wav
from tests.memory import peak_megabytes

pytestmark = [pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(3000)]

LATENTSYNC = "media/bytedance+LatentSync/assets"
CLIPS = {
    "demo1": (f"{LATENTSYNC}/demo1_video.mp4", f"{LATENTSYNC}/demo1_audio.wav"),
    "demo2": (f"{LATENTSYNC}/demo2_video.mp4", f"{LATENTSYNC}/demo2_audio.wav"),
    "demo3": (f"{LATENTSYNC}/demo3_video.mp4", f"{LATENTSYNC}/demo3_audio.wav"),
    "graphic insert": ("media/Rudrabha+Wav2Lip/checkpoints/test.mov", "media/TMElyralab+MuseTalk/data/audio/eng.wav"),
    "variable rate": (
        "media/OpenTalker+video-retalking/examples/face/1.mp4",
        "media/OpenTalker+video-retalking/examples/audio/1.wav",
    ),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints")
    for name in ("yunet_n_dynamic.onnx", "face_landmarker.task"):
        shutil.copy(shared_file(f"weights/{name}"), folder / "auxiliary" / name)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))


def options(checkpoints, video, audio, output, report):
    return [
        *("--video_path", str(video), "--audio_path", str(audio), "--video_out_path", str(output)),
        *("--checkpoint_dir", str(checkpoints), "--report", str(report), "--inference_steps", "2"),
        *("--guidance_scale", "1", "--no-output-check", "--quiet"),
    ]


def no_longer_than(seconds, audio, folder):
    """The audio itself, or a WAV file of its first ``seconds``."""
    samples, rate = read_pcm(audio)
    most = round(seconds * rate)
    return audio if len(samples) <= most else write_wav(folder / "audio.wav", samples[:most], rate)


@pytest.mark.parametrize("name", CLIPS)
def test_length_sound_and_untouched_pixels(checkpoints, tmp_path, name):
    video, audio = (shared_file(path) for path in CLIPS[name])
    audio = no_longer_than(VideoFile(video).info.duration + 1, audio, tmp_path)  # the clip, and a second there and back
    output, report = tmp_path / "out.mkv", tmp_path / "report.json"
    assert main([*options(checkpoints, video, audio, output, report), "--codec", "ffv1"]) == 0
    source, result = VideoFile(video), VideoFile(output)
    account = json.loads(report.read_text())
    duration = Fraction(len(read_audio(audio)), 16_000)
    assert result.info.n_frames == account["frames"]
    if not source.info.variable_frame_rate:
        assert result.info.fps == source.info.fps and account["frames"] == frame_count(duration, source.info.fps)
    assert abs(result.info.duration - duration) <= 1 / source.info.fps
    samples, rate = read_pcm(output)
    expected, expected_rate = read_pcm(audio)
    assert rate == expected_rate and np.array_equal(samples, expected)
    if name == "graphic insert":
        assert any(span["first"] <= 330 and span["last"] >= 430 for span in account["passed_through"])
    check_pixels(source, result, account, checkpoints)


class NoDetection:
    """The first run has kept what it detected."""

    def __init__(self, name):
        self.name = name

    def detect(self, frames):
        raise AssertionError("a second run detects")


def check_pixels(source, result, account, checkpoints):
    """Outside the mask nothing at all; inside it the networks' noise."""
    detector = NoDetection(load_detector("auto", checkpoints / "auxiliary", "cpu").name)
    tracks = FaceTracks.cached(source.info.path, detector, FaceSelector(), TrackingSettings())
    keep = load_mask("mask", RESOLUTION)
    aligner = FaceAligner(RESOLUTION)
    passed = {k for span in account["passed_through"] for k in range(span["first"], span["last"] + 1)}
    n_compared = min(source.info.n_frames, account["frames"], 450)
    pairs = zip(tracks.follow(source.frames(0, n_compared)), result.frames(0, n_compared), strict=True)
    for number, (target, frame) in enumerate(pairs):
        difference = reduce(cv2.max, cv2.split(cv2.absdiff(target.frame.pixels, frame.pixels)))
        area = np.zeros(difference.shape, bool)
        if number not in passed:
            size = area.shape[::-1]
            hole = cv2.dilate((keep[0] < 0.5).astype(np.uint8), np.ones((3, 3)))
            matrix = aligner.matrix(target.face.landmarks)
            area = cv2.warpAffine(hole, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP).astype(bool)
            area = cv2.dilate(area.astype(np.uint8), np.ones((11, 11))).astype(bool)  # chroma is interpolated
            assert difference[area].mean() > 5, f"frame {number} has not been dubbed"
        assert difference[~area].max() == 0, f"frame {number}"


def test_ten_minutes_in_constant_memory(checkpoints, tmp_path):
    """A three-second clip there and back for ten minutes; the peak of the process against one of ten seconds."""
    video = shared_file("media/rizkiarm+LipNet/evaluation/samples/GRID/bbaf2n.mpg")
    peaks = []
    for seconds in (10, 600):
        audio = write_wav(tmp_path / f"{seconds}.wav", tone(float(seconds)))
        output, report = tmp_path / f"{seconds}.mp4", tmp_path / f"{seconds}.json"
        line = options(checkpoints, video, audio, output, report)
        peaks.append(peak_megabytes(f"from latentsync.cli.dub import main\nassert main({line!r}) == 0"))
        assert json.loads(report.read_text())["frames"] == VideoFile(output).info.n_frames == seconds * 25
    print(f"peak resident size: {peaks[0]:.0f} MB for 10 s, {peaks[1]:.0f} MB for 600 s")
    assert peaks[1] - peaks[0] < 200

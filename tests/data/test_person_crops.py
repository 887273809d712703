"""Videos of a person become clips: cut at gaps and shots, with their audio in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentsync.constants import AUDIO_RATE
from latentsync.data.person_crops import LONGEST, Crop, CropSettings, make_person_crops, pieces
from latentsync.errors import DataError
from latentsync.face.detector import Detection
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from tests.inference.world import DrawnVideo
from tests.media.synthetic import tone, write_wav

IMAGE = np.zeros((2, 2, 3), np.uint8)


def lengths(*runs: tuple[int, int, bool], shortest: int = 48) -> list[tuple[int, int]]:
    """First frame and length of each piece; ``runs``: frames, shot, usable."""
    crops, index = [], 0
    for count, shot, usable in runs:
        for _ in range(count):
            crops.append(Crop(index, shot, IMAGE if usable else None))
            index += 1
    return [(piece[0].index, len(piece)) for piece in pieces(crops, shortest)]


def test_pieces() -> None:
    assert lengths((47, 0, True)) == []
    assert lengths((48, 0, True)) == [(0, 48)]
    assert lengths((50, 0, True), (1, 0, False), (60, 0, True)) == [(0, 50), (51, 60)]
    assert lengths((50, 0, True), (50, 1, True)) == [(0, 50), (50, 50)]
    assert lengths((LONGEST, 0, True)) == [(0, LONGEST)]
    assert lengths((LONGEST + 10, 0, True)) == [(0, 67), (67, 68)]
    assert lengths((2 * LONGEST + 48, 0, True)) == [(0, LONGEST), (LONGEST, LONGEST), (2 * LONGEST, 48)]


class Known:
    """A detector that knows the face of every frame but those that are ``hidden``."""

    name = "known"

    def __init__(self, drawn: DrawnVideo, hidden: range) -> None:
        self.drawn, self.hidden = drawn, hidden

    def detect(self, frames):
        return [[] if frame.index in self.hidden else [self._face(frame.index)] for frame in frames]

    def _face(self, index: int) -> Detection:
        points = self.drawn.landmarks(index)
        return Detection(np.concatenate([points.min(0), points.max(0)]).astype(np.float32), points, 0.99)


def test_clips_of_a_video(tmp_path: Path) -> None:
    drawn, settings = DrawnVideo(140, 128, 128, face=60), CropSettings(32, 48)
    samples = tone(5.6, AUDIO_RATE, 1)
    samples[:] = (samples * np.linspace(0.2, 1, len(samples))[:, None]).astype(np.int16)
    write_wav(tmp_path / "audio.wav", samples, AUDIO_RATE)
    video = tmp_path / "video.mkv"
    write_video(video, drawn.frames(), drawn.info, EncodingOptions(preset="ultrafast"), tmp_path / "audio.wav")
    detector, folder = Known(drawn, range(60, 70)), tmp_path / "clips"
    (clips,) = make_person_crops([video], detector, settings, folder).values()
    assert [clip.frames for clip in clips] == [60, 70]
    second, info = clips[1], VideoFile(clips[1].path).info
    assert (info.width, info.fps, info.n_frames, second.source) == (32, 25, 70, "video")
    waveform, expected = read_audio(second.path), samples[70 * 640 : 140 * 640, 0] / 2**15
    assert len(waveform) == len(expected)
    assert np.abs(waveform - expected).max() < 1e-3  # the audio of these very frames
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert list(make_person_crops([video], detector, settings, folder).values()) == [clips]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    with pytest.raises(DataError, match="No stretch of"):
        make_person_crops([video], Known(drawn, range(45, 140)), settings, tmp_path / "none")

"""Videos of a person become clips: cut at gaps and shots, with their audio in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentsync.data.person_crops import LONGEST, Crop, CropSettings, make_person_crops, pieces
from latentsync.errors import DataError
from latentsync.face.detections_file import read_detections
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.places import SAMPLE_FACES, SAMPLE_VIDEO

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
    """The faces of the sample, which need no detector."""

    name = "known"

    def __init__(self, hidden: range) -> None:
        self.faces, self.hidden = read_detections(SAMPLE_FACES), hidden

    def detect(self, frames):
        return [[] if frame.index in self.hidden else list(self.faces.get(frame.index, [])) for frame in frames]


def test_clips_of_the_sample(tmp_path: Path) -> None:
    settings = CropSettings(32, 48)
    detector = Known(range(100, 120))
    (clips,) = make_person_crops([SAMPLE_VIDEO], detector, settings, tmp_path).values()
    assert clips and all(48 <= clip.frames <= LONGEST and clip.width == 32 for clip in clips)
    first, info = clips[0], VideoFile(clips[0].path).info
    assert (info.width, info.fps, info.n_frames) == (32, 25, first.frames)
    waveform = read_audio(first.path)
    expected = read_audio(SAMPLE_VIDEO)[: len(waveform)]
    assert len(waveform) == first.frames * 640
    assert np.abs(waveform - expected).max() < 1e-3
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert list(make_person_crops([SAMPLE_VIDEO], detector, settings, tmp_path).values()) == [clips]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_a_video_without_a_face(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No stretch of"):
        make_person_crops([SAMPLE_VIDEO], Known(range(10_000)), CropSettings(32, 48), tmp_path)

"""Faces found in photographs and recordings, kept, and shown under another light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.dub_inputs import write_talker_video
from latentsync.data import still_faces
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.face_augmentation import UNCHANGED, FaceAugmentation, Variation
from latentsync.data.image_dataset import StillDataset, collate_images
from latentsync.data.still_faces import find_stills, split_stills
from latentsync.data.talkers.clip import TalkerClip, make_talker
from latentsync.errors import DataError
from latentsync.face.align import FaceAligner, align_face
from latentsync.face.detector import Detection
from latentsync.levels import to_image
from latentsync.media.writer import EncodingOptions
from latentsync.types import Frame

SIDE = 48


class DrawnFaces:
    """Finds the one face that it knows, wherever a face is drawn: all frames are much alike."""

    name = "drawn"

    def __init__(self, talker: TalkerClip) -> None:
        self._points = talker.landmarks[0]

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        box = np.concatenate([self._points.min(0), self._points.max(0)])
        return [[Detection(box, self._points, 1.0)] if frame.pixels.std() > 5 else [] for frame in frames]


@pytest.fixture(scope="module")
def talker() -> TalkerClip:
    return make_talker(1, 2, 3, seconds=0.4, size=120)


@pytest.fixture
def people(tmp_path, talker) -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    cv2.imwrite(str(folder / "photo.png"), cv2.cvtColor(talker.pixels()[0], cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "wall.png"), np.full((60, 60, 3), 90, np.uint8))
    write_talker_video(folder / "recording.mp4", talker, EncodingOptions("h264", 10))
    return folder


def test_faces_are_found_once_and_kept_with_room_around_them(people, tmp_path, talker, monkeypatch, caplog):
    monkeypatch.setattr(still_faces.yunet, "load", lambda *_: DrawnFaces(talker))
    first = find_stills(people, tmp_path, tmp_path / "cache", 3)
    assert [(still.path.name, still.frame) for still in first] == [
        ("photo.png", 0), ("recording.mp4", 2), ("recording.mp4", 4), ("recording.mp4", 7)
    ]  # fmt: skip
    assert "1 of 3 files" in caplog.text and "wall.png" in caplog.text
    whole = to_image(align_face(talker.pixels()[0], FaceAligner(SIDE).matrix(talker.landmarks[0]), SIDE).pixels)
    face, _ = (sample := StillDataset(first[:1], SIDE, 0, UNCHANGED)[SampleKey(0, 0)]).image, sample.origin
    assert np.abs(face.permute(1, 2, 0).numpy().astype(int) - whole).max() <= 1
    monkeypatch.setattr(still_faces.yunet, "load", lambda *_: pytest.fail("they are known"))
    again = find_stills(people, tmp_path, tmp_path / "cache", 3)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))


def test_a_folder_without_faces_is_refused(tmp_path):
    with pytest.raises(DataError, match="shows a face"):
        find_stills(tmp_path, tmp_path, tmp_path / "cache", 3)


def test_a_sample_follows_from_its_key_and_shows_every_file_equally_often(people, tmp_path, talker, monkeypatch):
    monkeypatch.setattr(still_faces.yunet, "load", lambda *_: DrawnFaces(talker))
    stills = find_stills(people, tmp_path, tmp_path / "cache", 3)
    varied = StillDataset(stills, SIDE, 0, Variation())
    assert len(varied) == 2
    samples = [varied[SampleKey(epoch, 1, step=7)] for epoch in (0, 0, 1)]
    assert np.array_equal(samples[0].image, samples[1].image)
    assert not np.array_equal(samples[0].image, samples[2].image)
    batch = collate_images(samples)
    assert batch.images.shape == (3, 3, SIDE, SIDE) and batch.step == 7
    train, held_out = split_stills(stills, 0.5, people)
    assert {still.content for still in train}.isdisjoint(still.content for still in held_out)


def test_every_variation_of_its_own(talker):
    image, matrix = talker.pixels()[0], FaceAligner(SIDE).matrix(talker.landmarks[0])
    plain = FaceAugmentation(SIDE, UNCHANGED)(image, matrix, np.random.default_rng(0))

    def varied(*place: int) -> np.ndarray:
        values = [0.0] * 9
        for k in place:
            values[k] = 1.0 if k in (0, 5, 6, 7, 8) else 0.1
        return FaceAugmentation(SIDE, Variation(*values))(image, matrix, np.random.default_rng(1))

    mirrored = varied(0)
    assert np.abs(mirrored[..., ::-1].astype(int) - plain).mean() < 2
    assert np.ptp(varied(5).astype(int), axis=0).max() == 0  # grey
    sharp = cv2.Laplacian(plain.astype(np.float32).mean(0), cv2.CV_32F).var()
    assert cv2.Laplacian(varied(6).astype(np.float32).mean(0), cv2.CV_32F).var() < sharp
    for change in (2, 3, 4, 7, 8):
        assert not np.array_equal(varied(change), plain), change

"""Photographs that speak as training clips; which photographs can be used; both commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.cli import photo_talkers
from latentsync.data.clip_reader import read_clip_frames
from latentsync.data.manifest import TRAIN, VALIDATION, read_manifest
from latentsync.data.photo_talkers.crops import PhotoCrops, make_photo_crops
from latentsync.data.photo_talkers.portrait import Portrait, PortraitReader, Unusable, list_photographs
from latentsync.errors import DataError
from tests.data.photo_talkers.drawn_portrait import drawn_portrait
from tests.golden import shared_file

CROPS = PhotoCrops(train_clips=2, validation_clips=1, seconds=0.8, resolution=64)


class DrawnReader(PortraitReader):
    """The photograph N.png shows the drawn person of seed N, and others nobody."""

    def __init__(self, *_: object) -> None:
        super().__init__(Path())

    def read(self, path: Path) -> Portrait | Unusable:
        return drawn_portrait(int(path.stem), 0.4) if path.stem.isdigit() else Unusable(path, "no face")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("3.png", "4.png", "tree.png", "notes.txt"):
        (folder / name).write_bytes(b"")
    return folder


def test_people_are_held_out_and_a_stopped_run_goes_on(tmp_path, photos):
    folder = tmp_path / "clips"
    manifest = make_photo_crops(CROPS, photos, folder, DrawnReader(), workers=1)
    clips = read_manifest(manifest).clips
    assert [clip.split for clip in clips] == [TRAIN, TRAIN, VALIDATION]
    assert {clip.speaker for clip in clips[:2]} & {clips[2].speaker} == set()
    assert '"tree.png": "no face"' in (folder / "photos.json").read_text()
    frames = read_clip_frames(clips[0], 0, 20).astype(float)
    assert frames.shape == (20, 64, 64, 3)
    assert frames.mean(axis=(0, 1, 2)).min() > 20

    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert make_photo_crops(CROPS, photos, folder, DrawnReader(), workers=1) == manifest
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written

    manifest.unlink()
    clips[1].path.unlink()
    make_photo_crops(CROPS, photos, folder, DrawnReader(), workers=1)
    assert [clip.content for clip in read_manifest(manifest).clips] == [clip.content for clip in clips]
    assert clips[0].path.stat().st_mtime_ns == written[clips[0].path]

    (photos / "4.png").unlink()
    with pytest.raises(DataError, match="too few"):
        make_photo_crops(CROPS, photos, folder, DrawnReader(), workers=1)


def test_shares_of_covered_mouths_and_turned_heads_are_of_the_training_clips(tmp_path, photos):
    few = PhotoCrops(train_clips=1, validation_clips=1, seconds=0.2, resolution=32)
    plain = read_manifest(make_photo_crops(few, photos, tmp_path / "plain", DrawnReader(), workers=1)).clips
    assert "share" not in (tmp_path / "plain" / "photos.json").read_text()
    hard = replace(few, covered_share=1.0, turned_share=1.0)
    manifest = make_photo_crops(hard, photos, tmp_path / "hard", DrawnReader(), workers=1)
    clips = read_manifest(manifest).clips
    assert [bool(clip.covered) for clip in (*plain, *clips)] == [False, False, True, False]
    assert clips[0].content != plain[0].content and clips[1].content == plain[1].content
    manifest.unlink()
    assert read_manifest(make_photo_crops(hard, photos, tmp_path / "hard", DrawnReader(), workers=1)).clips == clips


def test_the_mesh_finds_the_features_and_the_cache_keeps_them(tmp_path):
    weights = shared_file("weights/face_landmarker.task").parent
    truth = drawn_portrait(26)
    path = tmp_path / "person.png"
    cv2.imwrite(str(path), truth.pixels[..., ::-1])
    (tmp_path / "broken.png").write_text("nothing")
    found = PortraitReader(weights, tmp_path / "cache").read(path)
    assert isinstance(found, Portrait)
    assert np.linalg.norm(found.marks.lips - truth.marks.lips, axis=-1).mean() < 4
    assert np.linalg.norm(found.marks.irises - truth.marks.irises, axis=-1).max() < 4
    again = PortraitReader(Path("/nowhere"), tmp_path / "cache").read(path)
    assert isinstance(again, Portrait)
    assert np.array_equal(again.marks.surface, found.marks.surface)
    assert PortraitReader(weights, tmp_path / "cache").read(tmp_path / "broken.png") == Unusable(
        tmp_path / "broken.png", "no image"
    )


def test_a_folder_without_photographs(tmp_path):
    with pytest.raises(DataError, match="no photograph"):
        list_photographs(tmp_path)


def test_command_lines(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(photo_talkers, "PortraitReader", DrawnReader)
    words = ["--photos", str(photos), "--count", "2"]
    assert photo_talkers.main([*words, "--out", str(tmp_path / "a"), "--seconds", "0.4", "--size", "64"]) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "contact_sheet.png",
        "photo_0000_00000_plain.mp4",
        "photo_0000_00000_plain.npz",
        "photo_0000_00001_plain.mp4",
        "photo_0000_00001_plain.npz",
    ]
    with np.load(tmp_path / "a" / "photo_0000_00000_plain.npz") as truth:
        assert truth["landmarks"].shape == (1, 10, 68, 2)
        assert str(truth["photograph"]) == drawn_portrait(3).content
    more = ["--crops", "32", "--validation", "1", "--seconds", "0.4", "--workers", "1"]
    assert photo_talkers.main([*words, "--out", str(tmp_path / "b"), *more]) == 0
    assert len(read_manifest(tmp_path / "b" / "clips.jsonl").clips) == 3
    assert "clips.jsonl" in capsys.readouterr().out

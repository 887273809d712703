"""Sentences of the GRID corpus: what names say, sides that stay, times of words, and a mouth by its landmarks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from latentsync.data.grid import (
    TEST,
    articulated,
    grid_sentences,
    make_grid_crops,
    measured_mouth,
    mouth_shapes,
    sentence_of,
    word_times,
)
from latentsync.data.manifest import TRAIN, VALIDATION, read_manifest
from latentsync.errors import DataError
from latentsync.face.detector import Detection
from tests.data.talkers.talker_video import write_talker_video


def names(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvxyz"
    return [f"bb{'abiw'[k % 4]}{letters[k % 25]}{k % 10 or 'z'}{'anps'[k % 4]}" for k in range(count)]


@pytest.fixture
def people(tmp_path):
    folder = tmp_path / "grid_s1"
    folder.mkdir()
    for name in set(names(60)):
        (folder / f"{name}.mpg").touch()
    return tmp_path


def test_a_name_says_the_sentence():
    assert sentence_of("bbaf2n") == "bin blue at f two now"
    assert sentence_of("swwzzp") == "set white with z zero please"
    for wrong in ("bbaf2", "bbaf2x", "holiday"):
        with pytest.raises(DataError, match=wrong):
            sentence_of(wrong)


def test_sides_follow_from_names_alone(people):
    sides = {each.name: each.split for each in grid_sentences(people)}
    counts = Counter(sides.values())
    assert counts[VALIDATION] == counts[TEST] == 15
    assert counts[TRAIN] == len(sides) - 30
    assert {each.name: each.split for each in grid_sentences(people)} == sides


def test_a_folder_without_the_talker_is_named(tmp_path):
    with pytest.raises(DataError, match="grid_s1 holds 0 videos"):
        grid_sentences(tmp_path)


def test_times_of_words_are_in_seconds(people):
    sentence = grid_sentences(people)[0]
    folder = people / "grid_s1_align"
    folder.mkdir()
    path = folder / f"{sentence.name}.align"
    path.write_text("0 25000 sil\n25000 30000 bin\n")
    assert word_times(people, sentence) == [("sil", 0.0, 1.0), ("bin", 1.0, 1.2)]
    path.write_text("0 25000\n")
    with pytest.raises(DataError, match=sentence.name):
        word_times(people, sentence)


def test_a_mouth_is_measured_on_the_scale_of_its_owner():
    openings, widths = np.linspace(0, 0.5, 101), np.linspace(0.9, 1.1, 101)
    of_talker = np.stack([openings, widths], axis=1)
    opening, spread, rounding = articulated(of_talker, of_talker).T
    assert opening[0] == 0 and opening[-1] == 1 and (np.diff(opening) >= 0).all()
    assert spread[-1] == 1 and rounding[0] == 1
    assert not (spread * rounding).any()


class Faces:
    """A detector that knows the faces of one video."""

    name = "known"

    def __init__(self, path):
        with np.load(path) as truth:
            self._landmarks = truth["landmarks"][0]
        self.asked = 0

    def detect(self, frames):
        self.asked += len(frames)
        points = [self._landmarks[frame.index] for frame in frames]
        return [[Detection(np.concatenate([p.min(axis=0), p.max(axis=0)]), p, 1.0)] for p in points]


def test_clips_are_cut_once_and_tell_their_mouths(tmp_path, monkeypatch):
    folder = tmp_path / "people" / "grid_s1"
    video, _ = write_talker_video(tmp_path / "drawn", seconds=0.8, size=128)
    folder.mkdir(parents=True)
    for name in ("bbaf2n", "lgbc3p", "swwz4s"):
        (folder / f"{name}.mpg").symlink_to(video)
    monkeypatch.setattr("latentsync.data.grid._HELD_OUT", 2)
    detector = Faces(video.with_suffix(".npz"))
    manifest = make_grid_crops(tmp_path / "people", detector, 64, tmp_path / "crops")
    clips, tests = (read_manifest(path).clips for path in (manifest, manifest.with_name("test_clips.jsonl")))
    assert Counter(clip.split for clip in clips) == {TRAIN: 1, VALIDATION: 1}
    assert len(tests) == 1 and tests[0].split == ""
    clip = clips[0]
    assert (clip.width, clip.frames, clip.speaker) == (64, 20, "grid s1")
    mouth = measured_mouth(clip.path)
    with np.load(clip.path.with_suffix(".npz")) as truth, np.load(video.with_suffix(".npz")) as drawn:
        lips = truth["landmarks"][:, 48:]
        assert lips.min() >= 0 and lips.max() < 64
        assert np.corrcoef(mouth_shapes(truth["landmarks"])[:, 0], drawn["opening"][0])[0, 1] > 0.95
        assert np.corrcoef(mouth[:, 0], drawn["opening"][0])[0, 1] > 0.9
    asked = detector.asked
    make_grid_crops(tmp_path / "people", detector, 64, tmp_path / "crops")
    assert detector.asked == asked

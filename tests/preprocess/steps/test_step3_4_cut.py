from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.preprocess.settings import ShotSettings
from latentsync.preprocess.steps.step3_4_cut import mark_shots
from latentsync.types import ArrayFrame


def cuts_in(images) -> list[int]:
    frames = [ArrayFrame(i, Fraction(i, 25), pixels) for i, pixels in enumerate(images)]
    marked = list(mark_shots(iter(frames), ShotSettings()))
    assert [frame.index for frame, _ in marked] == list(range(len(frames)))
    return [frame.index for frame, is_cut in marked if is_cut]


def grey(level: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(level)
    return [np.clip(level + rng.integers(0, 4, (36, 64, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


def test_the_frame_after_the_change_is_marked():
    assert cuts_in(grey(30, 20) + grey(150, 30) + grey(60, 16)) == [20, 50]


def test_a_fade_and_a_flash_are_no_cuts():
    fade = [image for level in range(40, 200, 4) for image in grey(level, 1)]
    assert cuts_in(fade) == []
    assert len(cuts_in(grey(30, 20) + grey(255, 1) + grey(30, 20))) <= 1


def test_a_clip_shorter_than_the_window_has_no_cut():
    assert cuts_in(grey(30, 2)) == []
    assert cuts_in([]) == []


@pytest.mark.parametrize("seed", [3, 11, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 30))])
def test_cuts_of_a_film_are_found_and_none_invented(seed):
    options = TalkerOptions(cuts=(1.0, 1.8, 2.6))
    video = make_talker(seed, seed, seed, seconds=3.6, size=(192, 144), options=options)
    assert cuts_in(video.frames()) == list(video.cuts)

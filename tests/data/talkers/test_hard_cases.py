"""Which clips hold something before the mouth or turn the head: shares, seeds, and the frames that it is said of."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from latentsync.data.photo_talkers.clip import make_photo_clip
from latentsync.data.photo_talkers.motion import FURTHEST_TURN
from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.data.talkers.hard_cases import covered_frames, draw_case
from latentsync.data.talkers.surroundings import HAND, THINGS
from tests.data.photo_talkers.drawn_portrait import drawn_portrait

FPS = Fraction(25)


def test_shares_are_kept_and_more_of_them_change_no_clip_that_was_one():
    few, many = ([draw_case(seed, 2.4, *shares) for seed in range(1500)] for shares in ((0.1, 0.2), (0.3, 0.6)))
    assert np.mean([bool(each.hands or each.held) for each in few]) == pytest.approx(0.1, abs=0.03)
    assert np.mean([bool(each.turns) for each in few]) == pytest.approx(0.2, abs=0.04)
    for one, other in zip(few, many, strict=True):
        assert one.turn == other.turn and one.thing == other.thing
        assert all(not mine or mine == its for mine, its in zip(spans(one), spans(other), strict=True))
    seen = {HAND if each.hands else each.thing for each in few if each.hands or each.held}
    assert seen == {HAND, *THINGS}
    none = replace(draw_case(3, 2.4, 0, 0), thing="bar", turn=0.0)
    assert none == TalkerOptions()


def spans(options: TalkerOptions) -> tuple:
    return options.hands, options.held, options.turns


def test_a_thing_is_there_for_a_part_of_the_time():
    lengths = []
    for seed in range(300):
        frames = covered_frames(draw_case(seed, 2.4, 1, 0), 60, FPS)
        lengths += [stop - first for first, stop in frames]
        assert len(frames) == 1 and 0 <= frames[0][0] < frames[0][1] <= 60
    assert max(lengths) < 48 and np.mean(lengths) > 20


@pytest.mark.parametrize("seed", [1, 2, 8])
def test_the_frames_said_to_be_covered_are_those_of_the_truth(seed):
    for furthest, make in (
        (0.6, make_talker),
        (FURTHEST_TURN, lambda *a, **b: make_photo_clip(drawn_portrait(), *a, **b)),
    ):
        options = draw_case(seed, 2.4, 1, 1, furthest)
        clip = make(seed, seed, seed, seconds=2.4, size=64, options=options)
        told = np.ones(60, bool)
        for first, stop in covered_frames(options, 60, FPS):
            told[first:stop] = False
        assert np.array_equal(clip.people[0].mouth_free, told)
        yaw = np.abs(clip.people[0].yaw)
        assert 0.69 * furthest < yaw.max() <= furthest + 1e-6

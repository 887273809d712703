"""Audio tokens by time: ten encoder positions around each frame, clamped at the ends."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.types import AudioFeatures, feature_positions


def test_ten_positions_around_the_frames_own():
    assert feature_positions(Fraction(4, 25), 100).tolist() == list(range(4, 14))


def test_positions_outside_repeat_the_first_and_the_last():
    assert feature_positions(Fraction(0), 100).tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert feature_positions(Fraction(99, 50), 100).tolist() == [95, 96, 97, 98, 99, 99, 99, 99, 99, 99]


def test_a_time_just_below_a_position_belongs_to_the_one_before():
    assert feature_positions(Fraction(1, 50) - Fraction(1, 10**9), 100)[4] == 0
    assert feature_positions(Fraction(1, 50), 100)[4] == 1


def test_no_positions_is_refused():
    with pytest.raises(ValueError):
        feature_positions(Fraction(0), 0)


def test_tokens_are_time_major_tap_minor():
    states = np.arange(100 * 5 * 3, dtype=np.float32).reshape(100, 5, 3)
    window = AudioFeatures(states, Fraction(2)).window(Fraction(1))
    assert window.shape == (50, 3)
    assert np.array_equal(window[:5], states[46]) and np.array_equal(window[-5:], states[55])

"""Where negatives may lie: never near the positive, everywhere else equally often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.data.negatives import NegativeRule, shifted_start, spread_starts


@given(n_starts=st.integers(2, 300), distance=st.integers(1, 60), data=st.data(), seed=st.integers(0, 2**32))
def test_a_negative_is_inside_the_clip_and_as_far_away_as_the_clip_allows(n_starts, distance, data, seed):
    start = data.draw(st.integers(0, n_starts - 1))
    found = shifted_start(np.random.default_rng(seed), start, n_starts, distance)
    assert 0 <= found < n_starts
    assert abs(found - start) >= min(distance, n_starts // 2)


@given(min_distance=st.integers(1, 30), extra=st.integers(0, 200), data=st.data(), seed=st.integers(0, 2**32))
def test_clips_that_the_rule_accepts_never_fall_below_its_distance(min_distance, extra, data, seed):
    rule = NegativeRule(min_distance=min_distance, far_distance=min_distance)
    n_starts = rule.min_starts() + extra
    start = data.draw(st.integers(0, n_starts - 1))
    assert abs(shifted_start(np.random.default_rng(seed), start, n_starts, rule.distance(0)) - start) >= min_distance


@given(n_starts=st.integers(1, 300), count=st.integers(1, 6), distance=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_the_windows_of_a_clip_lie_as_far_apart_as_it_allows(n_starts, count, distance, seed):
    if n_starts < count:
        with pytest.raises(ValueError, match="windows"):
            spread_starts(np.random.default_rng(seed), n_starts, count, distance)
        return
    starts = sorted(spread_starts(np.random.default_rng(seed), n_starts, count, distance))
    assert len(starts) == count
    assert starts[0] >= 0
    assert starts[-1] < n_starts
    if count > 1:
        assert min(np.diff(starts)) >= min(distance, (n_starts - 1) // (count - 1))
        if n_starts >= NegativeRule(distance, distance, windows_per_clip=count).min_starts():
            assert min(np.diff(starts)) >= distance


def test_every_allowed_start_is_equally_likely():
    rng = np.random.default_rng(0)
    counts = np.bincount([shifted_start(rng, 7, 20, 5) for _ in range(13_000)], minlength=20)
    allowed = np.abs(np.arange(20) - 7) >= 5
    assert not counts[~allowed].any()
    assert allowed.sum() == 11
    assert np.abs(counts[allowed] / 13_000 - 1 / 11).max() < 0.01


def test_the_distance_sinks_from_far_to_near():
    rule = NegativeRule(min_distance=5, far_distance=25, curriculum_steps=100)
    distances = [rule.distance(step) for step in range(0, 201)]
    assert distances[0] == 25
    assert distances[50] == 15
    assert distances[100] == distances[200] == 5
    assert all(before >= after for before, after in zip(distances[:-1], distances[1:], strict=True))


@pytest.mark.parametrize(
    "values",
    [
        {"min_distance": 0},
        {"min_distance": 6, "far_distance": 5},
        {"other_clip_share": 1.5},
        {"curriculum_steps": -1},
        {"windows_per_clip": 0},
    ],
)
def test_rules_that_contradict_themselves_are_refused(values):
    with pytest.raises(ValueError):
        NegativeRule(**values)


def test_a_single_start_has_no_negative():
    with pytest.raises(ValueError, match="no negative"):
        shifted_start(np.random.default_rng(0), 0, 1, 5)

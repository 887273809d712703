"""Intervals: reproducible, and as wide as statistics say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.metrics import bootstrap as module
from latentsync.metrics.bootstrap import bootstrap_interval, wilson_interval

VALUES = np.random.default_rng(0).normal(5, 2, 200)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert bootstrap_interval(VALUES, seed=3) == bootstrap_interval(VALUES, seed=3)
    assert bootstrap_interval(VALUES, seed=3) != bootstrap_interval(VALUES, seed=4)


def test_the_width_is_that_of_the_standard_error() -> None:
    low, high = bootstrap_interval(VALUES, seed=0)
    error = VALUES.std(ddof=1) / np.sqrt(len(VALUES))
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < VALUES.mean() < high


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(0, 1, 60), seed=i, resamples=400) for i in range(200)]
    assert 0.89 <= np.mean([low < 0 < high for low, high in intervals]) <= 0.99


@given(st.floats(0.1, 10), st.floats(-10, 10))
@settings(max_examples=10, deadline=None)
def test_scale_and_shift(scale: float, shift: float) -> None:
    plain = np.array(bootstrap_interval(VALUES, seed=0))
    np.testing.assert_allclose(bootstrap_interval(scale * VALUES + shift, seed=0), scale * plain + shift, rtol=1e-9)


def test_many_values_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(VALUES, seed=0, resamples=100)
    monkeypatch.setattr(module, "_BLOCK", 1500)
    assert bootstrap_interval(VALUES, seed=0, resamples=100) == whole


def test_one_value() -> None:
    assert bootstrap_interval(np.array([2.5]), seed=0) == (2.5, 2.5)


@pytest.mark.parametrize("values", [[], [np.nan], [1.0, np.inf], [[1.0]]])
def test_no_interval(values: list) -> None:
    with pytest.raises(ValueError, match="finite value"):
        bootstrap_interval(np.array(values), seed=0)


def test_wilson() -> None:
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe (1998), table I
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)


@given(st.integers(1, 500), st.data())
@settings(max_examples=30, deadline=None)
def test_wilson_is_symmetric_and_holds_the_share(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert wilson_interval(total - successes, total) == pytest.approx((1 - high, 1 - low))


def test_an_impossible_count() -> None:
    with pytest.raises(ValueError):
        wilson_interval(3, 2)

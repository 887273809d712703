"""Flicker of synthetic clips."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.metrics.temporal import (
    flicker,
    frame_changes,
    join_ratio,
    join_steps,
    strongest_join_ratio,
    temporal_error,
)

REGION = np.zeros((40, 40), bool)
REGION[20:] = True


def clip(levels: list[int], elsewhere: int = 50) -> list[np.ndarray]:
    """Grey frames whose lower half takes the given levels."""
    return [
        np.where(REGION[..., None], level, elsewhere + 30 * (i % 2)).astype(np.uint8).repeat(3, axis=2)
        for i, level in enumerate(levels)
    ]


def test_changes_of_the_region_alone() -> None:
    np.testing.assert_allclose(frame_changes(clip([100, 104, 104, 90]), REGION), [4, 0, 14], atol=1e-4)
    np.testing.assert_allclose(frame_changes(clip([100, 104])), [(4 + 30) / 2], atol=1e-4)


def test_a_still_image_does_not_flicker() -> None:
    assert flicker(clip([100] * 5), np.ones(4, bool), REGION) == 0


def test_flicker_counts_the_still_steps() -> None:
    still = np.array([True, False, True, True])
    assert flicker(clip([100, 102, 200, 198, 204]), still, REGION) == pytest.approx((2 + 2 + 6) / 3, abs=1e-4)


def test_nothing_stands_still() -> None:
    with pytest.raises(DataError, match="stands still"):
        flicker(clip([1, 2, 3]), np.zeros(2, bool), REGION)
    with pytest.raises(ValueError, match="2 steps"):
        flicker(clip([1, 2, 3]), np.ones(3, bool), REGION)


def test_temporal_error() -> None:
    reference = [100, 110, 105, 120]
    brighter = [level + 30 for level in reference]
    assert temporal_error(clip(brighter), clip(reference), REGION) == pytest.approx(0, abs=1e-4)
    shaking = [level + 5 * (i % 2) for i, level in enumerate(reference)]
    assert temporal_error(clip(shaking), clip(reference), REGION) == pytest.approx(5, abs=1e-4)
    assert temporal_error(clip(reference), clip(shaking), REGION) == pytest.approx(5, abs=1e-4)


def test_frames_are_read_once() -> None:
    assert temporal_error(iter(clip([1, 5, 1])), iter(clip([1, 1, 1])), REGION) == pytest.approx(4, abs=1e-4)


def test_clips_that_do_not_compare() -> None:
    with pytest.raises(ValueError, match="zip"):
        temporal_error(clip([1, 2, 3]), clip([1, 2]))
    with pytest.raises(ValueError, match="less than two"):
        temporal_error(clip([1]), clip([1]))
    with pytest.raises(ValueError, match="empty"):
        frame_changes(clip([1, 2]), np.zeros_like(REGION))


def pulsing(n: int, period: int, size: float, seed: int = 0) -> np.ndarray:
    """Changes of a mouth that moves now more, now less, ``size`` times as much into every ``period``-th frame."""
    steps = np.arange(n - 1)
    speech = (2 + np.sin(steps / 7)) * np.random.default_rng(seed).uniform(0.9, 1.1, n - 1)
    return speech * np.where((steps + 1) % period == 0, size, 1.0)


@pytest.mark.parametrize("size", [0.8, 1.0, 1.5])
def test_joins_against_the_inside_of_windows(size: float) -> None:
    changes = pulsing(250, 16, size)
    known = join_ratio(changes, join_steps(250, range(16, 250, 16)))
    assert known == pytest.approx(size, abs=0.05)
    assert strongest_join_ratio(changes, 16) == pytest.approx(max(size, 1.0), abs=0.1)
    assert strongest_join_ratio(pulsing(250, 15, 1.5), 16) < 1.2  # windows of another length


def test_the_steps_of_a_join() -> None:
    assert np.flatnonzero(join_steps(12, [4, 9])).tolist() == [3, 8]
    assert np.flatnonzero(join_steps(12, [4, 9], reach=2)).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert np.flatnonzero(join_steps(12, [1], reach=2)).tolist() == [0, 1, 2]
    assert np.flatnonzero(join_steps(12, [5], shared=1, reach=2)).tolist() == [2, 3, 4, 5, 6, 7]


def test_without_joins_or_movement_there_is_no_ratio() -> None:
    for joins in (np.zeros(99, bool), np.ones(99, bool)):
        with pytest.raises(DataError, match="no join"):
            join_ratio(np.ones(99), joins)
    with pytest.raises(DataError, match="Nothing moves"):
        join_ratio(np.zeros(99), join_steps(100, [50]))
    with pytest.raises(DataError, match="less than three windows"):
        strongest_join_ratio(np.ones(40), 16)
    with pytest.raises(ValueError, match="marks"):
        join_ratio(np.ones(99), np.ones(98, bool))

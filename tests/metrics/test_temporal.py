"""Flicker of synthetic clips."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.metrics.temporal import flicker, frame_changes, temporal_error

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

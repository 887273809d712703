"""CIEDE2000 against its published test data, and the color of lips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentsync.errors import DataError
from latentsync.metrics.color_difference import ciede2000, lab_of, lip_color, lip_color_difference
from tests.metrics.faces import landmarks

# Sharma, Wu & Dalal (2005), "The CIEDE2000 Color-Difference Formula", table 1: L a b, L a b, difference.
PUBLISHED_PAIRS = np.array(
    [
        [50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425],
        [50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615],
        [50, 2.8361, -74.0200, 50, 0, -82.7485, 3.4412],
        [50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0000],
        [50, -1.1848, -84.8006, 50, 0, -82.7485, 1.0000],
        [50, -0.9009, -85.5211, 50, 0, -82.7485, 1.0000],
        [50, 0, 0, 50, -1, 2, 2.3669],
        [50, -1, 2, 50, 0, 0, 2.3669],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0009, 7.1792],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0010, 7.1792],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0011, 7.2195],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0012, 7.2195],
        [50, -0.0010, 2.4900, 50, 0.0009, -2.4900, 4.8045],
        [50, -0.0010, 2.4900, 50, 0.0010, -2.4900, 4.8045],
        [50, -0.0010, 2.4900, 50, 0.0011, -2.4900, 4.7461],
        [50, 2.5, 0, 50, 0, -2.5, 4.3065],
        [50, 2.5, 0, 73, 25, -18, 27.1492],
        [50, 2.5, 0, 61, -5, 29, 22.8977],
        [50, 2.5, 0, 56, -27, -3, 31.9030],
        [50, 2.5, 0, 58, 24, 15, 19.4535],
        [50, 2.5, 0, 50, 3.1736, 0.5854, 1.0000],
        [50, 2.5, 0, 50, 3.2972, 0, 1.0000],
        [50, 2.5, 0, 50, 1.8634, 0.5757, 1.0000],
        [50, 2.5, 0, 50, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)  # fmt: skip
COLOURS = arrays(np.float64, (3,), elements=st.floats(-100, 100))


def test_the_published_pairs() -> None:
    first, second, expected = PUBLISHED_PAIRS[:, :3], PUBLISHED_PAIRS[:, 3:6], PUBLISHED_PAIRS[:, 6]
    np.testing.assert_allclose(ciede2000(first, second), expected, atol=5.01e-5)  # they have four decimals
    np.testing.assert_allclose(ciede2000(second, first), expected, atol=5.01e-5)


@given(COLOURS, COLOURS)
@settings(max_examples=60, deadline=None)
def test_a_difference_is_symmetric_and_not_negative(first: np.ndarray, second: np.ndarray) -> None:
    difference = ciede2000(first, second)
    assert difference >= 0
    assert ciede2000(second, first) == pytest.approx(difference, abs=1e-9)
    assert ciede2000(first, first) == 0


SKIN, RED, BROWN, TEETH = (200, 160, 140), (190, 60, 70), (150, 95, 80), (240, 240, 235)


def speaking(lips: tuple[int, int, int], gap: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a mouth that is open by ``gap`` and shows teeth, and its landmarks."""
    points = landmarks(gap)
    frame = np.full((256, 256, 3), SKIN, np.uint8)
    for outline, color in ((points[48:60], lips), (points[60:68], TEETH)):
        cv2.fillPoly(frame, [np.rint(outline).astype(np.int32)], color)
    return frame, points


@pytest.mark.parametrize("gap", [0.0, 10.0, 30.0])
def test_the_color_of_lips_is_neither_that_of_teeth_nor_of_skin(gap: float) -> None:
    patch = np.full((1, 1, 3), RED, np.uint8)
    np.testing.assert_allclose(lip_color(*speaking(RED, gap)), lab_of(patch)[0, 0], atol=1e-6)


def test_lips_that_lose_their_color_are_seen_whatever_they_say() -> None:
    source = np.stack([lip_color(*speaking(RED, gap)) for gap in (2, 20, 8)])
    other_words = np.stack([lip_color(*speaking(RED, gap)) for gap in (15, 5)])
    faded = np.stack([lip_color(*speaking(BROWN, gap)) for gap in (15, 5)])
    assert lip_color_difference(other_words, source) < 0.01
    assert lip_color_difference(faded, source) > 10
    slightly = tuple(value + 4 for value in RED)
    assert 0.5 < lip_color_difference(lip_color(*speaking(slightly))[None], source) < 2


def test_a_mouth_outside_the_frame_has_no_color() -> None:
    frame, points = speaking(RED)
    with pytest.raises(DataError, match="no lips"):
        lip_color(frame, points + 300)

"""CIEDE2000 against its published test data, and the color step along a border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentsync.metrics.seam import ciede2000, seam_step

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


def image(seed: int = 0) -> np.ndarray:
    """A smooth image with an edge of its own along the border of the mask below."""
    rows, columns = np.mgrid[:96, :96]
    smooth = 120 + 30 * np.sin(rows / 30 + seed) + 20 * np.cos(columns / 25)
    return np.dstack([smooth + 20, smooth, smooth - 15 + 25 * (rows > 48)]).astype(np.uint8)


KEEP = np.ones((96, 96), np.float32)
KEEP[48:80, 20:76] = 0


def shifted(pixels: np.ndarray, color: tuple[int, int, int], gain: float = 1.0) -> np.ndarray:
    """The image with another color inside the mask."""
    inside = (pixels * gain + np.array(color)).clip(0, 255).round().astype(np.uint8)
    return np.where(KEEP[..., None] < 0.5, inside, pixels)


def test_an_edge_of_the_face_is_no_seam() -> None:
    assert seam_step(image(), image(), KEEP) == pytest.approx(0, abs=1e-9)


def test_a_color_step_is_seen() -> None:
    visible = seam_step(shifted(image(), (8, -5, 6), 0.9), image(), KEEP)
    slight = seam_step(shifted(image(), (1, 0, 1)), image(), KEEP)
    assert visible > 4
    assert 0.1 < slight < 1


@given(st.integers(1, 12))
@settings(max_examples=10, deadline=None)
def test_a_larger_step_counts_more(step: int) -> None:
    smaller, larger = (shifted(image(), (each, each, each)) for each in (step, step + 3))
    assert seam_step(smaller, image(), KEEP) < seam_step(larger, image(), KEEP)


def test_another_light_on_everything_is_no_seam() -> None:
    brighter = image() + np.uint8(12)
    assert seam_step(brighter, image(), KEEP) < 0.3


def test_what_happens_far_from_the_border_does_not_count() -> None:
    mouth = image()
    mouth[58:70, 36:60] = (200, 20, 30)
    assert seam_step(mouth, image(), KEEP) == pytest.approx(0, abs=1e-9)


def test_a_mask_that_reaches_the_edge_of_the_image() -> None:
    keep = np.ones((96, 96), np.float32)
    keep[48:] = 0
    assert np.isfinite(seam_step(shifted(image(), (9, 9, 9)), image(), keep))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_a_border(value: float) -> None:
    with pytest.raises(ValueError, match="no border"):
        seam_step(image(), image(), np.full((96, 96), value))


def test_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        seam_step(image(), image()[:50], KEEP)

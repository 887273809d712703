"""The color step along a border, and smudges beside a face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import DataError
from latentsync.metrics.seam import seam_step, smudge
from tests.metrics.faces import landmarks


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


FACE = landmarks()
MASK = np.ones((256, 256), np.float32)
MASK[90:250, 20:236] = 0  # reaches over the cheeks and the chin


def film_of(seed: int) -> np.ndarray:
    """A plain frame with the noise of an encoder."""
    return (128 + np.random.default_rng(seed).normal(0, 3, (256, 256, 3))).astype(np.uint8)


def test_an_encoder_makes_no_smudge_and_the_face_may_change() -> None:
    changed = film_of(1)
    changed[150:200, 90:166] = 30  # the mouth
    assert smudge(changed, film_of(2), FACE, FACE, MASK) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("levels", [2, 10])
def test_a_smudge_beside_the_face_is_seen(levels: int) -> None:
    smudged = film_of(1)
    smudged[100:200, 22:52] += np.uint8(levels)
    beside_face = smudge(smudged, film_of(1), FACE, FACE, MASK)
    area = (MASK < 0.5).sum() - 140 * 130  # about; the face covers most of the mask
    assert beside_face == pytest.approx(levels * 100 * 30 / area, rel=0.35)


def test_a_jaw_that_opens_further_is_no_smudge() -> None:
    open_jaw = FACE.copy()
    open_jaw[4:13, 1] += 25
    changed = film_of(1)
    changed[222:244, 100:156] = 60
    assert smudge(changed, film_of(1), open_jaw, FACE, MASK) < 0.1 < smudge(changed, film_of(1), FACE, FACE, MASK)


def test_without_a_place_beside_the_face_there_is_no_smudge() -> None:
    inside = np.ones((256, 256), np.float32)
    inside[150:180, 110:146] = 0
    with pytest.raises(DataError, match="beside the face"):
        smudge(film_of(1), film_of(1), FACE, FACE, inside)

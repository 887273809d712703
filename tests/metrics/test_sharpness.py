"""Sharpness of a mouth next to its cheeks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.metrics.sharpness import laplacian_variance, mouth_to_cheeks, relative_sharpness
from tests.metrics.faces import landmarks

TEXTURE = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (256, 256, 3)), (0, 0), 0.8).astype(np.uint8)
POINTS = landmarks(20.0)
WHOLE = np.ones((256, 256), bool)


def blurred_below(row: int, sigma: float) -> np.ndarray:
    frame = TEXTURE.copy()
    frame[row:] = cv2.GaussianBlur(TEXTURE, (0, 0), sigma)[row:]
    return frame


def test_the_laplacian_of_a_known_image() -> None:
    frame = np.zeros((9, 9, 3), np.uint8)
    frame[4, 4] = 10
    values = [10.0] * 4 + [-40.0] + [0.0] * 76  # four neighbours and the point itself
    assert laplacian_variance(frame, np.ones((9, 9), bool)) == pytest.approx(np.var(values), rel=1e-5)


def test_light_does_not_count_and_contrast_does() -> None:
    frame = (TEXTURE // 4).astype(np.uint8)
    plain = laplacian_variance(frame, WHOLE)
    assert laplacian_variance(frame + np.uint8(40), WHOLE) == pytest.approx(plain, rel=1e-4)
    assert laplacian_variance(frame * np.uint8(2), WHOLE) == pytest.approx(4 * plain, rel=1e-4)


def test_a_soft_mouth() -> None:
    soft, softer = blurred_below(150, 1.0), blurred_below(150, 2.0)
    ratios = [relative_sharpness(frame, TEXTURE, POINTS, POINTS) for frame in (TEXTURE, soft, softer)]
    assert ratios[0] == 1
    assert 0.5 > ratios[1] > ratios[2] > 0


def test_focus_and_contrast_of_the_camera_do_not_count() -> None:
    dim = (TEXTURE * 0.5).astype(np.uint8)
    assert relative_sharpness(dim, TEXTURE, POINTS, POINTS) == pytest.approx(1, rel=0.05)


def test_cheeks_are_where_nothing_is_generated() -> None:
    everything_below = blurred_below(114, 2.0)  # mouth and most of the cheeks
    generated = np.zeros((256, 256), bool)
    generated[112:] = True
    hidden = relative_sharpness(everything_below, TEXTURE, POINTS, POINTS)
    shown = relative_sharpness(everything_below, TEXTURE, POINTS, POINTS, generated)
    assert shown < 0.05
    assert hidden > 1.5 * shown


def test_faces_that_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="no mouth"):
        mouth_to_cheeks(TEXTURE, POINTS + 1000)
    with pytest.raises(DataError, match="no cheeks"):
        mouth_to_cheeks(TEXTURE, POINTS, WHOLE)
    with pytest.raises(DataError, match="flat color"):
        mouth_to_cheeks(np.full((256, 256, 3), 90, np.uint8), POINTS)
    with pytest.raises(ValueError, match="empty"):
        laplacian_variance(TEXTURE, ~WHOLE)

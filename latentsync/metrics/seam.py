"""The color step across the border of the generated area, as the eye sees it (CIEDE2000).

A difference of 1 is about what can just be seen between two patches side by side. It sees steps of color and
brightness along the border; a change of sharpness or of grain there it does not see, nor a seam that moves (take its
spread over time for that).
"""

from __future__ import annotations

import cv2
import numpy as np

_POW7 = 25.0**7


def seam_step(prediction: np.ndarray, reference: np.ndarray, keep_mask: np.ndarray, reach: int = 4) -> float:
    """Mean ΔE2000 along the border between what the color just inside is and what it should be.

    ``prediction``, ``reference`` (H, W, 3) uint8 RGB, the reference being the true frame or the untouched source;
    ``keep_mask`` (H, W), below one half = generated; ``reach`` pixels on either side are averaged, which must be more
    than half the width of a soft border. What should be inside is the prediction's own color outside plus the step
    that the reference has there: an edge that belongs to the face is no seam, and neither is a change of the whole
    frame. Raises ``ValueError`` if the mask has no border.
    """
    if prediction.shape != reference.shape or prediction.shape[:2] != keep_mask.shape:
        raise ValueError(f"shapes differ: {prediction.shape}, {reference.shape}, mask {keep_mask.shape}")
    inside = keep_mask < 0.5
    border = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~inside
    if not border.any():
        raise ValueError("the mask has no border: it keeps everything or nothing")
    lab, reference_lab = _lab(prediction), _lab(reference)
    should_be = _mean_near(reference_lab, inside, border, reach) + (
        _mean_near(lab, ~inside, border, reach) - _mean_near(reference_lab, ~inside, border, reach)
    )
    return float(ciede2000(_mean_near(lab, inside, border, reach), should_be).mean())


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(...) float64 color differences of two (..., 3) sets of CIE L*a*b* colors; symmetric.

    CIE 142-2001 with all weights 1, in the formulation of Sharma, Wu & Dalal (2005).
    """
    l1, a1, b1 = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    mean_c = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_c**7 / (mean_c**7 + _POW7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1 = np.remainder(np.arctan2(b1, stretch * a1), 2 * np.pi)
    h2 = np.remainder(np.arctan2(b2, stretch * a2), 2 * np.pi)
    turn = h2 - h1
    far = np.abs(turn) > np.pi  # the shorter arc leads across 0
    turn = np.where(far, turn - np.copysign(2 * np.pi, turn), turn)
    mean_h = (h1 + h2) / 2
    mean_h = np.where(far, np.remainder(mean_h + np.pi, 2 * np.pi), mean_h)
    mean_h = np.where(c1 * c2 == 0, h1 + h2, mean_h)  # a grey has no hue
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2

    t = (
        1
        - 0.17 * np.cos(mean_h - np.radians(30))
        + 0.24 * np.cos(2 * mean_h)
        + 0.32 * np.cos(3 * mean_h + np.radians(6))
        - 0.20 * np.cos(4 * mean_h - np.radians(63))
    )
    lightness = (l2 - l1) / (1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2))
    chroma = (c2 - c1) / (1 + 0.045 * mean_c)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * mean_c * t)
    bend = np.radians(60) * np.exp(-(((np.degrees(mean_h) - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(mean_c**7 / (mean_c**7 + _POW7)) * np.sin(bend)
    return np.sqrt(np.maximum(lightness**2 + chroma**2 + hue**2 + rotation * chroma * hue, 0))


def _lab(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> CIE L*a*b* (D65) float64."""
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).astype(np.float64)


def _mean_near(lab: np.ndarray, side: np.ndarray, border: np.ndarray, reach: int) -> np.ndarray:
    """(B, 3): mean color of the pixels of ``side`` within ``reach`` of each border pixel."""
    size = (2 * reach + 1, 2 * reach + 1)
    weights = side.astype(np.float64)
    count = cv2.boxFilter(weights, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    total = cv2.boxFilter(lab * weights[..., None], -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return total[border] / count[border][:, None]

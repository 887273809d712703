"""Differences of color as the eye sees them (CIEDE2000), and those of the lips.

A difference of 1 is about what can just be seen between two patches side by side.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.errors import DataError

_POW7 = 25.0**7
_OUTER_LIPS, _INNER_LIPS = slice(48, 60), slice(60, 68)


def lab_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> CIE L*a*b* (D65) float64."""
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).astype(np.float64)


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


def lip_color(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(3,) float64 L*a*b*: the median color of the lips, without what an open mouth shows between them.

    ``frame`` (H, W, 3) uint8 RGB; ``landmarks`` (68, 2) iBUG, pixels of it. Raises ``DataError`` if it shows no lips.
    """
    lips = np.zeros(frame.shape[:2], np.uint8)
    for outline, value in ((_OUTER_LIPS, 1), (_INNER_LIPS, 0)):
        cv2.fillPoly(lips, [np.rint(landmarks[outline]).astype(np.int32)], value)
    if not lips.any():
        raise DataError("The frame shows no lips.", remedy="Leave frames without a face out.")
    return np.median(lab_of(frame)[lips.astype(bool)], axis=0)


def lip_color_difference(prediction: np.ndarray, reference: np.ndarray) -> float:
    """ΔE2000 between the mean lip colors of two clips, (n, 3) and (m, 3) as of ``lip_color``, that show one person.

    Below 2 nobody notices without both side by side; red lips that come out brown give 5 and more. The words may
    differ, the light should not. It sees the whole lip: a gloss or a line of lipstick is averaged away.
    """
    return float(ciede2000(np.mean(prediction, axis=0), np.mean(reference, axis=0)))

"""Arithmetic of boxes around faces.

A box is (..., 4) x0, y0, x1, y1 in frame pixels, sub-pixel, with pixel centres at whole numbers. A ``Box`` consists of
whole pixels: columns x0 to x1 - 1 and rows y0 to y1 - 1.
"""

from __future__ import annotations

import numpy as np

from latentsync.face.similarity import transform
from latentsync.types import Box


def box_size(box: np.ndarray) -> np.ndarray:
    """(..., 2): width and height."""
    return box[..., 2:4] - box[..., :2]


def box_centre(box: np.ndarray) -> np.ndarray:
    """(..., 2) x, y."""
    return (box[..., :2] + box[..., 2:4]) / 2


def longer_side(box: np.ndarray) -> float:
    """The larger of width and height of a box (4,)."""
    return float(box_size(box).max())


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Shared area of two boxes (4,) over the area that they cover together, 0 to 1."""
    sides = np.maximum(np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    return shared / (float(box_size(a).prod() + box_size(b).prod()) - shared)


def box_around(points: np.ndarray) -> np.ndarray:
    """(4,): the smallest box that holds ``points`` (n, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def span_size(points: np.ndarray) -> float:
    """Size of the face with landmarks (n, 2): root of the area of their box, px; never 0."""
    return float(np.sqrt(np.prod(np.maximum(np.ptp(points, axis=0), 1e-3))))


def transformed_box(matrix: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """(4,) float64: the smallest box that holds the four corners of ``box`` carried through a (2, 3) matrix."""
    x0, y0, x1, y1 = box
    return box_around(transform(matrix, np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], dtype=np.float64)))


def pixels_in_box(box: np.ndarray, shape: tuple[int, ...], margin: int = 0) -> Box | None:
    """The pixels of a frame of ``shape`` (H, W, ...) that a box (4,) touches, with a margin; None if there are none."""
    limits = shape[1], shape[0]
    x0, y0 = (int(v) for v in np.clip(np.floor(box[:2]) - margin, 0, limits))
    x1, y1 = (int(v) for v in np.clip(np.ceil(box[2:]) + 1 + margin, 0, limits))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

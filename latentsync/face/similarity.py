"""The similarity that brings three anchor points of a face onto a fixed template.

There are three coordinate systems. The *frame*; the *crop*, which keeps the face's proportions (210 x 280 px at
R = 256, 420 x 560 at 512); and the *canvas*, which is the crop stretched to the R x R square that the networks see.
Pixel centres lie at whole numbers.
"""

from __future__ import annotations

import numpy as np

# The template in units of the published 75 x 100 grid: left brow, right brow, nose.
TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])
GRID_WIDTH, GRID_HEIGHT = 75, 100
GRID_SCALE = 2.8  # crop pixels per grid unit at R = 256

# The anchors are the means of these landmarks: of the 68 iBUG points, and of the same places among the 106 points.
ANCHORS_68 = (tuple(range(17, 22)), tuple(range(22, 27)), tuple(range(27, 36)))
ANCHORS_106 = ((43, 48, 49, 51, 50), (101, 102, 103, 104, 105), (74, 77, 83, 86))


def crop_scale(resolution: int) -> float:
    """Crop pixels per template grid unit: 2.8 at 256, 5.6 at 512."""
    return GRID_SCALE * resolution / 256


def crop_size(resolution: int) -> tuple[int, int]:
    """Width and height of the crop: (210, 280) at 256, (420, 560) at 512, truncated to whole pixels at other sizes."""
    scale = crop_scale(resolution)
    return int(GRID_WIDTH * scale), int(GRID_HEIGHT * scale)


def crop_to_canvas(resolution: int) -> np.ndarray:
    """(2, 3) float64: crop pixels to canvas pixels, by a resize that keeps the outer edges in place."""
    ratios = np.array([resolution / side for side in crop_size(resolution)])
    return np.column_stack([np.diag(ratios), 0.5 * ratios - 0.5])


def anchor_points(landmarks: np.ndarray) -> np.ndarray:
    """(3, 2) float64: means of the left brow, the right brow and the nose.

    ``landmarks`` (68, 2) in iBUG order or (106, 2). Raises ``ValueError`` for any other shape.
    """
    if landmarks.shape == (68, 2):
        groups = ANCHORS_68
    elif landmarks.shape == (106, 2):
        groups = ANCHORS_106
    else:
        raise ValueError(f"landmarks must be (68, 2) or (106, 2), not {landmarks.shape}")
    points = np.asarray(landmarks, dtype=np.float64)
    return np.stack([points[list(group)].mean(axis=0) for group in groups])


def estimate_similarity(points: np.ndarray, resolution: int) -> np.ndarray:
    """(2, 3) float64: frame pixels to crop pixels, so that ``points`` come onto the template.

    ``points`` (3, 2): left brow, right brow, nose in frame pixels. Orthogonal Procrustes analysis with the scale taken
    as the ratio of the two spreads; a mirrored triple gives a rotation, never a reflection. Raises ``ValueError`` if
    the points coincide or are not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (3, 2) or not np.isfinite(points).all():
        raise ValueError(f"three finite points are needed, not {points!r}")
    template = TEMPLATE * crop_scale(resolution)
    centre, template_centre = points.mean(axis=0), template.mean(axis=0)
    centred, template_centred = points - centre, template - template_centre
    spread = centred.std()
    if spread == 0:
        raise ValueError("the three points coincide")
    left, _, right = np.linalg.svd(template_centred.T @ centred)
    if np.linalg.det(left @ right) < 0:
        left[:, -1] *= -1
    linear = template_centred.std() / spread * (left @ right)
    return np.column_stack([linear, template_centre - linear @ centre])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """(2, 3): the map of ``inner`` followed by ``outer``."""
    linear = outer[:, :2]
    return _affine(linear @ inner[:, :2], linear @ inner[:, 2] + outer[:, 2])


def invert(matrix: np.ndarray) -> np.ndarray:
    """(2, 3): the inverse map."""
    linear = np.linalg.inv(matrix[:, :2])
    return _affine(linear, -linear @ matrix[:, 2])


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., 2) points mapped by a (2, 3) matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(2, 3) from (2, 2) and (2,); ``np.column_stack`` takes four times as long, and a paste needs thirty."""
    matrix = np.empty((2, 3), linear.dtype)
    matrix[:, :2], matrix[:, 2] = linear, shift
    return matrix

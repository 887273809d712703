"""Grain and sharpness of the source carried over to the generated face, outside the lips.

A network that works on a small canvas through a codec gives smooth skin: pores, stubble and the camera's grain are
gone, and a large face is sharper beside the pasted area than in it. Where the generated skin shows the same as the
source at the scale that the network can draw, the fine structure of the source is still true and is kept: the result
there is the source plus the blurred difference of the two images. Where they differ (the mouth, a jaw that has moved, a
crease that has gone) the generated face stays as it is. This is a choice between two images, band by band, as in the
Laplacian pyramid (Burt & Adelson 1983, "A multiresolution spline"), with two bands. The coarse one lives on the grid of
the outline.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.face.outline import GRID, LOWER_LIP, MOUTH_CORNERS, grid_points, hull_depth

BLUR = 3  # cells of the grid that are averaged: what is finer is fine structure
# Grey levels by which the blurred images may differ, in the channel that differs most: the source's fine structure is
# kept whole up to the first, and not at all from the second on.
SAME, OTHER = 4.0, 12.0
# Distance from the lips at which the source's fine structure begins, and is whole, as shares of the canvas side.
NEAR_LIPS, FAR_FROM_LIPS = 0.015, 0.06
# Distance from the lips up to which the face is free to move, and from which on it is not, but for the chin.
STILL_NEAR, STILL_FAR = 0.08, 0.16
# Height below the lower lip within which the face becomes free, and the distance to the sides of the mouth up to which
# it is, and from which on it is not, as shares of the canvas side.
BELOW, BESIDE = 0.06, (0.03, 0.12)
SMUDGE = 8.0  # grey levels by which a cheek may change
LIPS, LOWER = slice(48, 68), (55, 56, 57, 58, 59, 64, 65, 66, 67)  # landmarks, iBUG order


def outside_lips(points: np.ndarray, side: int, jaw: float = 0.0) -> np.ndarray:
    """(GRID, GRID) float32: 0 on the lips of the source and where the generated ones may be, 1 well outside.

    ``points`` (68, 2) landmarks on a canvas of ``side`` pixels; ``jaw``: canvas pixels by which the generated chin is
    lower.
    """
    lowered = points[list(LOWER)] + [0, max(jaw, 0.0)]
    distance = -hull_depth(np.concatenate([points[LIPS], lowered]), side) / side
    along = np.clip((distance - NEAR_LIPS) / (FAR_FROM_LIPS - NEAR_LIPS), 0, 1)
    return along * along * (3 - 2 * along)


def freedom(points: np.ndarray, side: int) -> np.ndarray:
    """(GRID, GRID) float32: 1 where speech moves a face (around the lips and on the chin), 0 on cheeks and jaw.

    ``points`` (68, 2) landmarks on a canvas of ``side`` pixels.
    """
    around = 1 + (hull_depth(points[LIPS], side) / side + STILL_NEAR) / (STILL_FAR - STILL_NEAR)
    columns, rows = grid_points(side).reshape(2, GRID, GRID)
    left, right = points[list(MOUTH_CORNERS), 0].astype(np.float32)
    below = (rows - np.float32(points[LOWER_LIP, 1])) / np.float32(BELOW * side)
    beside = 1 - (np.maximum(left - columns, columns - right) / side - BESIDE[0]) / (BESIDE[1] - BESIDE[0])
    return np.clip(np.maximum(around, np.minimum(below, beside)), 0, 1)


def coarse_difference(
    generated: np.ndarray, source: np.ndarray, limit: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What of a generated face goes onto the source where its fine structure is kept, and where that is.

    ``generated`` and ``source`` (3, GRID, GRID) float32 grey levels, averages of the cells of the grid; ``limit``
    (GRID, GRID) in [0, 1] float32, and ``free`` what ``freedom`` gives. Returns the difference of the two without fine
    structure (3, GRID, GRID), and the share of the source's fine structure that is kept (GRID, GRID), ``limit`` at the
    most. Where the face is not free to move, a large difference is an error of the generator: it is cut to ``SMUDGE``
    levels, and the fine structure is kept all the same.
    """
    difference = np.stack([cv2.blur(plane, (BLUR, BLUR)) for plane in generated - source])
    along = np.clip((OTHER - np.abs(difference).max(axis=0)) / (OTHER - SAME), 0, 1)
    kept = np.maximum(along * along * (3 - 2 * along), 1 - free) * limit
    most = SMUDGE + 255 * free
    return np.clip(difference, -most, most), kept

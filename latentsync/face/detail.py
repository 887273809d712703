"""Grain and sharpness of the source carried over to the generated face, outside the lips.

A network that works on a small canvas through a codec gives smooth skin: pores, stubble and the camera's grain are
gone, and a large face is sharper beside the pasted area than in it. Where the generated skin shows the same as the
source at the scale that the network can draw, the fine structure of the source is still true and is kept: the result
there is the source plus the blurred difference of the two images. Where they differ (the mouth, a jaw that has moved, a
crease that has gone) the generated face stays as it is, but for what no face does (``coarse_difference``). This is a
choice between two images, band by band, as in the Laplacian pyramid (Burt & Adelson 1983, "A multiresolution spline"),
with two bands. The coarse one lives on the grid of the outline.
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
# Distance from the lips up to which a face may show anything, and from which on it may not; and by how much lower than
# they and the jaw are the generated lower lip may be, as shares of the canvas side.
LIPS_NEAR, LIPS_FAR, LIP_DROP = 0.02, 0.07, 0.06
# Height below the lower lip within which the chin begins, and the distance to the sides of the mouth up to which it
# reaches, and from which on there is cheek or jaw, as shares of the canvas side. What lies below the sides of a jaw may
# be hair, so a jaw that rises brings colors from below into a narrower part.
BELOW, BESIDE, BESIDE_RISING = 0.06, (0.03, 0.12), (0.0, 0.06)
SMUDGE = 8.0  # grey levels by which a cheek may change; a chin may leave what the source shows of it by twice as many
LIPS, LOWER = slice(48, 68), (55, 56, 57, 58, 59, 64, 65, 66, 67)  # landmarks, iBUG order


def outside_lips(points: np.ndarray, side: int, jaw: float = 0.0) -> np.ndarray:
    """(GRID, GRID) float32: 0 on the lips of the source and where the generated ones may be, 1 well outside.

    ``points`` (68, 2) landmarks on a canvas of ``side`` pixels; ``jaw``: canvas pixels by which the generated chin is
    lower.
    """
    distance = _from_lips(points, side, max(jaw, 0.0), FAR_FROM_LIPS)
    along = np.clip((distance - NEAR_LIPS) / (FAR_FROM_LIPS - NEAR_LIPS), 0, 1)
    return along * along * (3 - 2 * along)


def lips_area(points: np.ndarray, side: int, jaw: float = 0.0) -> np.ndarray:
    """(GRID, GRID) float32: 1 where the lips of the generated face may be, 0 well outside; see ``outside_lips``."""
    distance = _from_lips(points, side, max(jaw, 0.0) + LIP_DROP * side, LIPS_FAR)
    around = np.clip((LIPS_FAR - distance) / (LIPS_FAR - LIPS_NEAR), 0, 1)
    return around * around


def chin_area(points: np.ndarray, side: int, beside: tuple[float, float] = BESIDE) -> np.ndarray:
    """(GRID, GRID) float32: 1 on the chin, which moves with the jaw, 0 on cheeks and the sides of the jaw."""
    columns, rows = grid_points(side).reshape(2, GRID, GRID)
    left, right = points[list(MOUTH_CORNERS), 0].astype(np.float32)
    below = (rows - np.float32(points[LOWER_LIP, 1])) / np.float32(BELOW * side)
    distance = np.maximum(left - columns, columns - right) / side
    return np.clip(np.minimum(below, (beside[1] - distance) / (beside[1] - beside[0])), 0, 1)


def _from_lips(points: np.ndarray, side: int, drop: float, far: float) -> np.ndarray:
    """(GRID, GRID) float32: distance from the lips, and from a lower lip that is ``drop`` canvas pixels lower, as a
    share of the side; negative on them, and ``far`` at most."""
    lowered = points[list(LOWER)] + [0, drop]
    return -hull_depth(np.concatenate([points[LIPS], lowered]), side, far * side) / side


def coarse_difference(
    generated: np.ndarray, source: np.ndarray, points: np.ndarray, side: int, jaw: float, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What of a generated face goes onto the source where its fine structure is kept, and where that is.

    ``generated`` and ``source`` (3, GRID, GRID) float32 grey levels, averages of the cells of the grid; ``points``,
    ``side`` and ``jaw`` as in ``outside_lips``; ``limit`` (GRID, GRID) float32 in [0, 1]. Returns the difference of the
    two without fine structure (3, GRID, GRID), and the share of the source's fine structure that is kept (GRID, GRID),
    ``limit`` at the most.

    Away from the lips only the jaw moves, and it takes the chin along. So a cheek keeps to the colors of the source,
    and a chin to those that the source has at the place or where the jaw has brought it from. What the generated face
    shows besides is an error of the generator (hair on a jaw, a dark patch): it is cut off, as colors outside the
    neighbourhood of a pixel are in temporal antialiasing (Karis 2014), and the fine structure there is the source's.
    """
    source, generated = (np.stack([cv2.blur(plane, (BLUR, BLUR)) for plane in image]) for image in (source, generated))
    difference = generated - source
    lips, chin = lips_area(points, side, jaw), chin_area(points, side)
    moving = (chin if jaw > 0 else chin_area(points, side, BESIDE_RISING))
    lowest, highest = (moving * (met - source) for met in _met_by_jaw(source, jaw * GRID / side))
    most = SMUDGE * (1 + chin) + 255 * lips
    cut = np.clip(difference, lowest - most, highest + most)
    apart, over = (np.abs(levels).max(axis=0) for levels in (difference, difference - cut))
    along = np.clip((OTHER - apart) / (OTHER - SAME), 0, 1)
    fixed = np.maximum(1 - np.maximum(lips, chin), np.minimum(over / (OTHER - SAME), 1))
    kept = np.maximum(along * along * (3 - 2 * along), fixed) * limit
    return cut, kept


def _met_by_jaw(source: np.ndarray, jaw: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value that a jaw which is ``jaw`` cells lower has moved over each cell of ``source``
    (3, GRID, GRID); parts of a cell count as such."""
    whole = int(abs(jaw))
    met = []
    for extreme in (cv2.erode, cv2.dilate):
        near, far = (
            np.stack([extreme(plane, kernel, anchor=(0, len(kernel) - 1 if jaw > 0 else 0)) for plane in source])
            for kernel in (np.ones((whole + 1, 1), np.uint8), np.ones((whole + 2, 1), np.uint8))
        )
        met.append(near + np.float32(abs(jaw) - whole) * (far - near))
    return met[0], met[1]

"""Grain and sharpness of the source carried over to the generated face, outside the lips.

A network that works on a small canvas through a codec gives smooth skin: pores, stubble and the camera's grain are
gone, and a large face is sharper beside the pasted area than in it. Where the generated skin shows the same as the
source at the scale that the network can draw, the fine structure of the source is still true and is kept: the result
there is the source plus the blurred difference of the two images. Where they differ (the mouth, a jaw that has moved, a
crease that has gone) the generated face stays as it is. This is a choice between two images, band by band, as in the
Laplacian pyramid (Burt & Adelson 1983, "A multiresolution spline"), with two bands.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.face.outline import hull_depth

FINE = 0.012  # standard deviation of the blur that parts fine from coarse, as a share of the canvas side
# Grey levels by which the blurred images may differ, in the channel that differs most: the source's fine structure is
# kept whole up to the first, and not at all from the second on.
SAME, OTHER = 4.0, 12.0
# Distance from the lips at which the source's fine structure begins, and is whole, as shares of the canvas side.
NEAR_LIPS, FAR_FROM_LIPS = 0.015, 0.06
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


def without_detail(
    generated: np.ndarray, source: np.ndarray, limit: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split a generated face into its own part and a share of the source: face = own + share * source.

    ``generated`` and ``source`` (h, w, 3) float32 grey levels of the same part of a canvas of ``side`` pixels;
    ``limit`` (h, w) float32 in [0, 1], the most that the share may be. Returns own (h, w, 3) and share (h, w), float32.
    The source may be put in later, at the resolution of its frame.
    """
    coarse = cv2.subtract(generated, source)
    width = 2 * round(FINE * side / 2 * 1.7) + 1  # two box averages of it have about this standard deviation
    for _ in range(2):
        coarse = cv2.blur(coarse, (width, width), borderType=cv2.BORDER_REPLICATE)
    mismatch = np.abs(coarse).max(axis=-1)
    along = np.clip((OTHER - mismatch) / (OTHER - SAME), 0, 1)
    share = along * along * (3 - 2 * along) * limit
    own = generated + share[..., None] * (coarse - generated)
    return own, share

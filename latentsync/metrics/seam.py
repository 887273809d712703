"""What shows that a face was pasted: the color step across the border, and smudges beside the face.

``seam_step`` (CIEDE2000, where 1 can just be seen) sees steps of color and brightness along the border; a change of
sharpness or of grain there it does not see, nor a seam that moves (take its spread over time for that). ``smudge`` sees
what was changed of neck, hair and background.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.errors import DataError
from latentsync.metrics.color_difference import ciede2000, lab_of

_HULL_MARGIN = 0.03  # of the face's width by which landmarks may miss the edge of a face


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
    lab, reference_lab = lab_of(prediction), lab_of(reference)
    should_be = _mean_near(reference_lab, inside, border, reach) + (
        _mean_near(lab, ~inside, border, reach) - _mean_near(reference_lab, ~inside, border, reach)
    )
    return float(ciede2000(_mean_near(lab, inside, border, reach), should_be).mean())


def smudge(
    prediction: np.ndarray,
    reference: np.ndarray,
    prediction_landmarks: np.ndarray,
    reference_landmarks: np.ndarray,
    keep_mask: np.ndarray,
) -> float:
    """Grey levels by which what was generated beside the face differs more than what was kept: 0 is what encoding alone
    costs, and at 1 a smudge begins to show against a plain background.

    Frames (H, W, 3) uint8 RGB in which all but the face is alike; landmarks (68, 2) iBUG, pixels, of each;
    ``keep_mask`` (H, W), below one half = generated. Beside the face is outside the convex hull of both. Raises
    ``DataError`` if the generated area has no place beside the face, or nothing was kept there.
    """
    if prediction.shape != reference.shape or prediction.shape[:2] != keep_mask.shape:
        raise ValueError(f"shapes differ: {prediction.shape}, {reference.shape}, mask {keep_mask.shape}")
    beside, generated = ~_hull(prediction_landmarks, reference_landmarks, keep_mask.shape), keep_mask < 0.5
    if not ((beside & generated).any() and (beside & ~generated).any()):
        raise DataError("Nothing beside the face was generated, or all of it.", remedy="Give the mask of the system.")
    change = np.abs(prediction.astype(np.float64) - reference).mean(axis=-1)
    return float(change[beside & generated].mean() - change[beside & ~generated].mean())


def _hull(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: the convex hull of the landmarks of two faces, and a little around it."""
    points = np.concatenate([first, second]).astype(np.float32)
    hull = np.rint(cv2.convexHull(points)).astype(np.int32)
    filled = cv2.fillConvexPoly(np.zeros(shape, np.uint8), hull, 1)
    margin = round(_HULL_MARGIN * float(np.ptp(points[:, 0])))
    size = 2 * margin + 1
    return cv2.dilate(filled, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(bool)


def _mean_near(lab: np.ndarray, side: np.ndarray, border: np.ndarray, reach: int) -> np.ndarray:
    """(B, 3): mean color of the pixels of ``side`` within ``reach`` of each border pixel."""
    size = (2 * reach + 1, 2 * reach + 1)
    weights = side.astype(np.float64)
    count = cv2.boxFilter(weights, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    total = cv2.boxFilter(lab * weights[..., None], -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return total[border] / count[border][:, None]

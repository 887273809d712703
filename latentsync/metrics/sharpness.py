"""How sharp the mouth is, next to the cheeks of the same frame and to the source.

The variance of the Laplacian counts everything fine: teeth and lips, but also noise, ringing and blocks. A mouth much
sharper than the source's is therefore no better than a soft one; 1 is the aim.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.errors import DataError

_LIPS = (list(range(48, 60)),)
# Jaw, wing of the nose and lower lid. The published masks reach into these: see ``generated`` below.
_CHEEKS = ([1, 2, 31, 40, 41], [15, 14, 35, 47, 46])


def laplacian_variance(frame: np.ndarray, region: np.ndarray) -> float:
    """Variance of the 3 x 3 Laplacian of luma (grey levels squared) where ``region`` (H, W) is true.

    ``frame`` (H, W, 3) uint8 RGB. Raises ``ValueError`` for an empty region.
    """
    if not np.any(region):
        raise ValueError("the region is empty")
    luma = cv2.cvtColor(frame.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(luma, cv2.CV_32F)[np.asarray(region, bool)].var(dtype=np.float64))


def mouth_to_cheeks(frame: np.ndarray, landmarks: np.ndarray, generated: np.ndarray | None = None) -> float:
    """Sharpness of the mouth over that of the cheeks, which takes out the focus and the grain of the camera.

    ``landmarks`` (68, 2) iBUG, pixels of the frame; ``generated`` (H, W) bool, the area that a system may have drawn,
    is no part of the cheeks: if they were drawn as softly as the mouth, nothing would show. Raises ``DataError`` if
    mouth or cheeks lie outside the frame, if all of the cheeks is generated, or if they have no structure at all.
    """
    mouth, cheeks = (_filled(landmarks, outlines, frame.shape[:2]) for outlines in (_LIPS, _CHEEKS))
    if generated is not None:
        cheeks &= ~generated
    if not (mouth.any() and cheeks.any()):
        raise DataError(
            "The frame shows no mouth, or no cheeks that are the camera's.", remedy="Leave frames without a face out."
        )
    cheek_sharpness = laplacian_variance(frame, cheeks)
    if cheek_sharpness == 0:
        raise DataError("The cheeks are a flat color.", remedy="Check that the frame shows a face.")
    return laplacian_variance(frame, mouth) / cheek_sharpness


def relative_sharpness(
    prediction: np.ndarray,
    reference: np.ndarray,
    prediction_landmarks: np.ndarray,
    reference_landmarks: np.ndarray,
    generated: np.ndarray | None = None,
) -> float:
    """``mouth_to_cheeks`` of a result over that of its source: below 1 the mouth is softer than it was.

    Not for one frame alone: an open mouth shows teeth. Take the median over a clip.
    """
    source = mouth_to_cheeks(reference, reference_landmarks, generated)
    if source == 0:
        raise DataError("The mouth of the source is a flat color.", remedy="Check that the frame shows a face.")
    return mouth_to_cheeks(prediction, prediction_landmarks, generated) / source


def _filled(landmarks: np.ndarray, outlines: tuple[list[int], ...], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the convex hulls of the given landmarks."""
    canvas = np.zeros(shape, np.uint8)
    for outline in outlines:
        cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(landmarks[outline]).astype(np.int32)), 1)
    return canvas.astype(bool)

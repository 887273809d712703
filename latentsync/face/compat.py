"""Alignment and paste of the published releases, number for number, for ``--compat``.

They differ from ours in the anchor points (smoothed or rounded), in a running offset added to the translation, in two
resampling steps on 8-bit pixels where ours has one in floating point, and in pasting the whole rectangle back.
The published 1.6 runs these steps in half precision on a GPU; here they are the same formulas in single precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from latentsync.face.box import pixels_in_box, transformed_box
from latentsync.face.similarity import (
    TEMPLATE,
    anchor_points,
    compose,
    crop_size,
    crop_to_canvas,
    estimate_similarity,
    invert,
)
from latentsync.types import Compat

BORDER = 127  # grey level outside the frame
SMOOTHING_REACH = 0.3  # px per px of face width: how far a landmark must move before its past is forgotten
BIAS_MEMORY = 0.2  # share of the previous offset
EDGE_DIVISOR = 20  # the soft border of the pasted rectangle is a twentieth of its side


@dataclass(frozen=True, slots=True)
class CompatGeometry:
    """How one release aligns and pastes, where it differs from the others."""

    smooths_landmarks: bool  # over time
    rounds_points: bool  # landmarks and anchors, to whole pixels
    ddof: int  # of the standard deviation in the running offset
    crop_warp: int  # OpenCV interpolation, frame to crop and back
    float_warp: bool  # warps float pixels and truncates the result, instead of warping 8-bit pixels
    crop_resize: int  # OpenCV interpolation, crop to canvas
    paste_resize: Literal["bilinear", "bicubic"]  # canvas to crop, with antialiasing


GEOMETRIES = {
    Compat.V1_0: CompatGeometry(True, False, 0, cv2.INTER_LINEAR, False, cv2.INTER_CUBIC, "bilinear"),
    Compat.V1_5: CompatGeometry(True, False, 0, cv2.INTER_LANCZOS4, False, cv2.INTER_LANCZOS4, "bilinear"),
    Compat.V1_6: CompatGeometry(False, True, 1, cv2.INTER_LINEAR, True, cv2.INTER_LANCZOS4, "bicubic"),
}


class CompatMatrices:
    """Landmarks of consecutive frames to matrices. The state is kept through a whole run, also over cuts."""

    def __init__(self, compat: Compat, resolution: int) -> None:
        self._geometry = GEOMETRIES[compat]
        self._resolution = resolution
        self._landmarks: np.ndarray | None = None
        self._bias: np.ndarray | None = None

    def next(self, landmarks: np.ndarray) -> np.ndarray:
        """(2, 3) float64, frame pixels to crop pixels, for the next frame's (68, 2) or (106, 2) landmarks."""
        landmarks = np.asarray(landmarks, dtype=np.float64)
        if self._geometry.smooths_landmarks:
            landmarks = self._smooth(landmarks)
        if self._geometry.rounds_points:
            points = np.round(anchor_points(np.round(landmarks)))
        else:
            points = anchor_points(landmarks)
        bias = _nose(TEMPLATE, self._geometry.ddof) - _nose(points, self._geometry.ddof)
        if self._bias is not None:
            bias = BIAS_MEMORY * self._bias + (1 - BIAS_MEMORY) * bias
        self._bias = bias
        matrix = estimate_similarity(points, self._resolution)
        matrix[:, 2] += bias  # a dimensionless vector on pixels, as published
        return matrix

    def _smooth(self, landmarks: np.ndarray) -> np.ndarray:
        if self._landmarks is not None:
            squared = ((landmarks - self._landmarks) ** 2).sum(axis=1, keepdims=True)
            kept = np.exp(-squared / (SMOOTHING_REACH * np.ptp(landmarks[:, 0])))
            landmarks = kept * self._landmarks + (1 - kept) * landmarks
        self._landmarks = landmarks
        return landmarks


def crop_compat(pixels: np.ndarray, matrix: np.ndarray, resolution: int, compat: Compat) -> np.ndarray:
    """(R, R, 3) uint8: the frame (H, W, 3) uint8 warped to the crop, then stretched to the canvas.

    ``matrix`` (2, 3) maps frame to canvas pixels.
    """
    release = GEOMETRIES[compat]
    source = pixels.astype(np.float32) if release.float_warp else pixels
    crop = cv2.warpAffine(
        source,
        compose(_canvas_to_crop(resolution), matrix),
        crop_size(resolution),
        flags=release.crop_warp,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(BORDER, BORDER, BORDER),
    )
    return cv2.resize(crop.astype(np.uint8), (resolution, resolution), interpolation=release.crop_resize)


def paste_compat(frame: np.ndarray, face: np.ndarray, matrix: np.ndarray, compat: Compat) -> np.ndarray:
    """The frame (H, W, 3) uint8 with the whole face rectangle blended in; a new array.

    ``face`` (3, R, R) float32 in [-1, 1], already composed with the original outside the mask; ``matrix`` (2, 3) frame
    to canvas pixels. Values are truncated to integers, as published.
    """
    release, resolution = GEOMETRIES[compat], face.shape[-1]
    width, height = crop_size(resolution)
    to_frame = invert(compose(_canvas_to_crop(resolution), matrix))
    crop = _resize_antialiased(face.transpose(1, 2, 0), (width, height), release.paste_resize)
    if not release.float_warp:
        crop = _to_levels(crop).astype(np.uint8).astype(np.float32)
    box = pixels_in_box(transformed_box(to_frame, (-1, -1, width, height)), frame.shape, margin=4)
    if box is None:
        return frame.copy()
    x0, y0, x1, y1 = box
    local = to_frame.copy()
    local[:, 2] -= (x0, y0)
    size = (x1 - x0, y1 - y0)
    warped = cv2.warpAffine(crop, local, size, flags=release.crop_warp, borderMode=cv2.BORDER_REPLICATE)
    warped = _to_levels(warped) if release.float_warp else np.clip(warped, 0, 255)
    # The edges of the frame cut the mask: the part outside does not count in its area.
    inside = cv2.warpAffine(np.ones((height, width), np.float32), local, size, flags=release.crop_warp)
    inside = cv2.erode(inside, np.ones((2, 2), np.uint8))
    soft = _soften(inside)[..., None]
    result = frame.copy()
    part = result[y0:y1, x0:x1]
    part[:] = (soft * inside[..., None] * warped + (1 - soft) * part).astype(np.uint8)
    return result


def _canvas_to_crop(resolution: int) -> np.ndarray:
    """(2, 3): canvas pixels to crop pixels."""
    return invert(crop_to_canvas(resolution))


def _nose(points: np.ndarray, ddof: int) -> np.ndarray:
    centred = points - points.mean(axis=0)
    return centred[2] / centred.std(ddof=ddof)


def _to_levels(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels / 2 + 0.5, 0, 1) * 255


def _soften(inside: np.ndarray) -> np.ndarray:
    """The rectangle shrunk by a twentieth of its side and blurred by as much. (h, w) float32."""
    edge = int(inside.sum() ** 0.5) // EDGE_DIVISOR
    if edge == 0:
        return inside
    shrunk = cv2.erode(inside, np.ones((2 * edge, 2 * edge), np.uint8))
    return cv2.GaussianBlur(shrunk, (2 * edge + 1, 2 * edge + 1), 0)


def _resize_antialiased(image: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """(H, W, C) to (h, w, C) float32 with the kernel widened when shrinking, as Pillow and torchvision do."""
    rows = _resize_weights(image.shape[0], size[1], kernel)
    columns = _resize_weights(image.shape[1], size[0], kernel)
    return np.einsum("yi,xj,ijc->yxc", rows, columns, image, optimize=True).astype(np.float32)


def _resize_weights(length: int, target: int, kernel: str) -> np.ndarray:
    """(target, length) float32 interpolation weights, each row summing to 1."""
    ratio = length / target
    widened = max(1.0, ratio)
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    distance = np.abs(np.arange(length) - centres[:, None]) / widened
    if kernel == "bilinear":
        weights = np.maximum(0, 1 - distance)
    else:  # Keys' cubic with a = -0.5
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

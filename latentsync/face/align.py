"""Frames to aligned faces: landmarks give a matrix, the matrix gives the canvas that the networks see.

Our alignment is sub-pixel, resamples once and keeps nothing from frame to frame, because tracks are smoothed already,
where their past and their future are known. With ``compat`` the alignment of that release is reproduced instead.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from hashlib import sha256

import numpy as np

from latentsync.face.compat import BORDER, CompatMatrices, crop_compat
from latentsync.face.layers import warp_yuv, yuv_warps
from latentsync.face.paste import paste_face
from latentsync.face.resample import warp, warp_frame
from latentsync.face.similarity import anchor_points, compose, crop_to_canvas, estimate_similarity
from latentsync.levels import normalize_canvas
from latentsync.types import AlignedFace, Compat, Frame
from latentsync.yuv import yuv_frame

__all__ = ["FaceAligner", "align_face", "anchor_points", "estimate_similarity", "image_key", "paste_face"]


class FaceAligner:
    """Aligns the frames of one run.

    With ``compat`` it keeps state from frame to frame, so ``matrix`` must be called in frame order. ``crop`` may run in
    any thread. ``pixel_aspect``: width over height of the frames' pixels; the canvas shows the face as it is seen (with
    ``compat`` as it is stored). ``keyed``: faces get their keys, by which their latents are remembered; not with
    ``compat``, which draws them anew each time.
    """

    def __init__(
        self,
        resolution: int,
        compat: Compat | None = None,
        pixel_aspect: Fraction = Fraction(1),
        keyed: bool = False,
    ) -> None:
        self.resolution = resolution
        self._keyed = keyed
        self._to_square = np.diag([float(pixel_aspect), 1.0])
        self._compat = compat
        self._matrices = None if compat is None else CompatMatrices(compat, resolution)

    def matrix(self, landmarks: np.ndarray) -> np.ndarray:
        """(2, 3) float64, frame pixels to canvas pixels, from (68, 2) or (106, 2) landmarks of the next frame."""
        if self._matrices is None:
            to_crop = estimate_similarity(anchor_points(landmarks) @ self._to_square, self.resolution)
            to_crop[:, :2] @= self._to_square
        else:
            to_crop = self._matrices.next(landmarks)
        return compose(crop_to_canvas(self.resolution), to_crop)

    def crop(self, frame: Frame, matrix: np.ndarray) -> AlignedFace:
        """The face of a frame under a matrix from ``matrix``."""
        if self._compat is not None:
            return align_face(frame.pixels, matrix, self.resolution, self._compat)
        size = (self.resolution, self.resolution)
        planar, warps = yuv_frame(frame), yuv_warps(matrix, size, frame.shape)
        if planar is None or warps is None:
            levels = warp_frame(frame, matrix, size, BORDER).transpose(2, 0, 1)
        else:
            levels = warp_yuv(*planar, warps)
        face = _aligned(levels, matrix)
        return replace(face, key=image_key(face.pixels)) if self._keyed else face

    def align(self, frame: Frame, landmarks: np.ndarray) -> AlignedFace:
        """``matrix`` and ``crop`` in one."""
        return self.crop(frame, self.matrix(landmarks))


def align_face(
    pixels: np.ndarray, points_or_matrix: np.ndarray, resolution: int, compat: Compat | None = None
) -> AlignedFace:
    """The face of a frame (H, W, 3) uint8 RGB as ``AlignedFace`` of side ``resolution``.

    ``points_or_matrix``: (3, 2) anchor points (see ``anchor_points``), or a (2, 3) matrix from frame to canvas pixels.
    Outside the frame the canvas is grey 127. ``compat``: resample as that release does; its offsets and smoothing are
    in ``FaceAligner`` only. Raises ``ValueError`` for other shapes.
    """
    given = np.asarray(points_or_matrix, dtype=np.float64)
    if given.shape == (3, 2):
        matrix = compose(crop_to_canvas(resolution), estimate_similarity(given, resolution))
    elif given.shape == (2, 3):
        matrix = given
    else:
        raise ValueError(f"anchor points are (3, 2) and a matrix is (2, 3), not {given.shape}")
    if compat is None:
        canvas = warp(pixels, matrix, (resolution, resolution), BORDER)
    else:
        canvas = crop_compat(pixels, matrix, resolution, compat).astype(np.float32)
    return _aligned(canvas.transpose(2, 0, 1), matrix)


def _aligned(canvas: np.ndarray, matrix: np.ndarray) -> AlignedFace:
    """From a canvas (3, R, R) float32 in grey levels."""
    levels = np.clip(canvas, 0, 255, out=np.empty(canvas.shape, np.float32))
    return AlignedFace(pixels=normalize_canvas(levels), matrix=matrix)


def image_key(pixels: np.ndarray) -> bytes:
    """A digest that only equal images share; 1 to 6 ms for a canvas, without the interpreter's lock."""
    return sha256(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data).digest()

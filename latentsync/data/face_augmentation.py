"""Faces as other cameras would show them: pose, light, focus, grain, compression.

R face side
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from latentsync.data.syncnet_dataset import jitter_colors
from latentsync.face.resample import warp
from latentsync.face.similarity import compose

FILL = 127  # grey outside the image, as in aligned faces


@dataclass(frozen=True, slots=True)
class Variation:
    """How far a face is changed. Angles, sizes and shifts are standard deviations, the last three shares of the images.
    All 0 leaves it as it is."""

    flips: float = 0.5  # share that is mirrored
    degrees: float = 3.0
    size: float = 0.06  # of the logarithm of the scale
    shift: float = 0.02  # over the side
    light: float = 0.15  # see ``jitter_colors``
    gray: float = 0.02  # share without color
    blur: float = 0.1  # share that is out of focus
    grain: float = 0.2  # share with noise
    compression: float = 0.2  # share that was compressed


UNCHANGED = Variation(*[0.0] * 9)


class FaceAugmentation:
    """``variation`` of faces of ``resolution`` pixels."""

    def __init__(self, resolution: int, variation: Variation) -> None:
        self._side = resolution
        self._variation = variation

    def __call__(self, pixels: np.ndarray, matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``pixels`` (H, W, 3) uint8 RGB, ``matrix`` (2, 3) from them to the aligned face -> (3, R, R) uint8 RGB."""
        change, side = self._variation, self._side
        if change == UNCHANGED:
            return _to_bytes(warp(pixels, matrix, (side, side), FILL)).transpose(2, 0, 1).copy()
        face = _to_bytes(warp(pixels, compose(self._pose(rng), matrix), (side, side), FILL))
        if rng.random() < change.blur:
            face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.3, 1.1))
        if rng.random() < change.gray:
            face = np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        lit = torch.from_numpy(np.ascontiguousarray(face.transpose(2, 0, 1))[None])
        face = jitter_colors(lit, rng, change.light)[0].numpy() if change.light else lit[0].numpy()
        if rng.random() < change.grain:
            face = _to_bytes(face + rng.normal(0, rng.uniform(1, 4), face.shape))
        if rng.random() < change.compression:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 95))]
            _, packed = cv2.imencode(".jpg", np.ascontiguousarray(face.transpose(1, 2, 0)), quality)
            face = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)).transpose(2, 0, 1)
        return np.ascontiguousarray(face)

    def _pose(self, rng: np.random.Generator) -> np.ndarray:
        """(2, 3), from the aligned face to the one that is shown."""
        change, centre = self._variation, (self._side - 1) / 2
        angle = np.deg2rad(change.degrees * rng.standard_normal())
        scale = np.exp(change.size * rng.standard_normal())
        shift = change.shift * self._side * rng.standard_normal(2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if rng.random() < change.flips:
            turn = turn @ np.diag([-1.0, 1.0])
        middle = np.full(2, centre)
        return np.column_stack([turn, middle - turn @ middle + shift])


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)

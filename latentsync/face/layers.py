"""The samples of a frame that a face is read from and painted onto: its planes, or those of RGB.

Both are planes of 8 bits whose levels are sums of R, G and B, so one way serves both: what is warped or added on the
canvas is brought to the levels of a plane there, where it is small, and then to the samples of that plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.face.resample import Warp
from latentsync.face.similarity import compose
from latentsync.types import Box, Frame
from latentsync.yuv import FROM_CHROMA, TO_CHROMA, YuvFrame, YuvLayout, yuv_frame

_RGB = np.eye(3, 4, dtype=np.float32)
_HERE = np.eye(2, 3)


@dataclass(frozen=True, slots=True)
class Layer:
    """Planes of a part of a frame whose samples lie alike. ``planes``: (h, w) uint8 each; ``corner``: x, y of the first
    sample in the whole frame's; ``matrix`` (2, 3): pixels of the frame to samples of the part; ``colors`` (n, 4)
    float32: R, G, B and 1 to the level of each plane."""

    planes: tuple[np.ndarray, ...]
    corner: tuple[int, int]
    matrix: np.ndarray
    colors: np.ndarray

    @classmethod
    def at(cls, box: Box, planes: tuple[np.ndarray, ...], matrix: np.ndarray, colors: np.ndarray) -> Layer:
        """The part in ``box`` of planes to whose samples ``matrix`` brings the pixels of the frame."""
        corner = box[:2]
        return cls(planes, corner, compose(np.array([[1.0, 0, -corner[0]], [0, 1, -corner[1]]]), matrix), colors)

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the planes."""
        height, width = self.planes[0].shape
        return height, width

    def levels(self, rgb: np.ndarray) -> list[np.ndarray]:
        """(h', w') float32 for each of the planes, of RGB levels (3, h', w') float32."""
        return [mixed(rgb, row) for row in self.colors]

    def differences(self, rgb: np.ndarray) -> list[np.ndarray]:
        """The same of differences of levels."""
        return [mixed(rgb, np.append(row[:3], 0)) for row in self.colors]


def mixed(planes: Sequence[np.ndarray] | np.ndarray, row: np.ndarray) -> np.ndarray:
    """(h, w) float32: the sum of three planes (h, w) float32 and 1, each times its number in ``row`` (4,)."""
    first, second, third, constant = row.tolist()
    total = cv2.addWeighted(planes[0], first, planes[1], second, constant)
    return cv2.scaleAdd(planes[2], third, total, dst=total)


def layers_of(frame: Frame, box: Box) -> tuple[Box, list[Layer]]:
    """The layers of the part of a frame in ``box``, or in the next larger box that they can be cut at."""
    planar = yuv_frame(frame)
    if planar is None:
        return box, [Layer.at(box, tuple(cv2.split(frame.region(box))), _HERE, _RGB)]
    shown, layout = planar
    left, top, right, bottom = half = box[0] // 2, box[1] // 2, (box[2] + 1) // 2, (box[3] + 1) // 2
    box = 2 * left, 2 * top, 2 * right, 2 * bottom
    luma, chroma = (shown.plane(0, box),), (shown.plane(1, half), shown.plane(2, half))
    return box, [
        Layer.at(box, luma, _HERE, layout.from_rgb[:1]),
        Layer.at(half, chroma, TO_CHROMA, layout.from_rgb[1:]),
    ]


def rgb_at(frame: Frame, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., 3) float32 RGB levels of the pixels in columns ``x`` and rows ``y`` (...), which lie in the frame.

    Of a frame with planes nothing else is converted, and a pixel has the chroma of its sample.
    """
    box = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
    planar = yuv_frame(frame)
    if planar is None:
        return frame.region(box)[y - box[1], x - box[0]].astype(np.float32)
    shown, layout = planar
    left, top, _, _ = half = box[0] // 2, box[1] // 2, (box[2] + 1) // 2, (box[3] + 1) // 2
    chroma = y // 2 - top, x // 2 - left
    luma = shown.plane(0, box)[y - box[1], x - box[0]]
    levels = np.stack([luma, *(shown.plane(n, half)[chroma] for n in (1, 2)), np.ones_like(luma)], axis=-1)
    return np.clip(levels.astype(np.float32) @ layout.to_rgb.T, 0, 255)


def with_painted(frame: Frame, box: Box, painted: Sequence[np.ndarray]) -> Frame:
    """A new frame with other planes of all layers that ``layers_of`` gave for its ``box``."""
    planar = yuv_frame(frame)
    return frame.patched(box, cv2.merge(painted)) if planar is None else planar[0].with_planes(box, painted)


def yuv_warps(matrix: np.ndarray, size: tuple[int, int], shape: tuple[int, ...]) -> tuple[Warp, Warp] | None:
    """The warps of luma and chroma of a frame of ``shape`` (H, W, ...); None if the target shows more than that."""
    luma = Warp(matrix, size, shape)
    chroma = Warp(compose(matrix, FROM_CHROMA), size, (shape[0] // 2, shape[1] // 2))
    return (luma, chroma) if luma.is_inside and chroma.is_inside else None


def warp_yuv(frame: YuvFrame, layout: YuvLayout, warps: tuple[Warp, Warp]) -> np.ndarray:
    """(3, h, w) float32 RGB levels, not limited: ``resample.warp_frame`` of a frame whose planes are warped each alone.

    ``warps``: what ``yuv_warps`` gives for it.
    """
    luma, chroma = warps
    # Of chroma that is enlarged, cubic interpolation shows 0.5 to 3 dB more at 60 dB, and takes three times as long.
    smooth = cv2.INTER_LINEAR if chroma.enlarges else cv2.INTER_CUBIC
    ways = (luma, cv2.INTER_CUBIC), (chroma, smooth), (chroma, smooth)
    planes = [
        each.apply(frame.plane(number, each.box)[..., None], 0, interpolation)[..., 0]
        for number, (each, interpolation) in enumerate(ways)
    ]
    return np.stack([mixed(planes, row) for row in layout.to_rgb])

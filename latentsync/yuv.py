"""Frames whose samples can be read and painted as the decoder gave them: 8-bit planes, chroma of half the size.

RGB of a part of a frame takes three values for each pixel, where its planes have one and a half, and is rounded on the
way there and back. Who warps a part, or adds to it, needs neither (``face.resample``, ``face.layers``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.types import Box, Frame

# A sample of chroma lies in the middle of its four pixels. (2, 3) float64 each: pixels to chroma samples, and back.
TO_CHROMA = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]])
FROM_CHROMA = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])


@dataclass(frozen=True, slots=True, eq=False)
class YuvLayout:
    """What the planes mean: ``from_rgb`` and ``to_rgb`` (3, 4) float32 bring columns of levels, R, G, B, 1 or Y, U, V,
    1, to those of the other side; 0 to 255 in all of them."""

    from_rgb: np.ndarray
    to_rgb: np.ndarray

    @classmethod
    def of(cls, linear: np.ndarray, offset: np.ndarray) -> YuvLayout:
        """From (3, 3) and (3,) float64: ``yuv = linear @ rgb + offset``."""
        inverse = np.linalg.inv(linear)
        pairs = (linear, offset), (inverse, -inverse @ offset)
        return cls(*(np.column_stack(pair).astype(np.float32) for pair in pairs))


class YuvFrame(ABC):
    """A ``Frame`` that may have such planes: Y, U and V are numbers 0, 1 and 2."""

    __slots__ = ()

    @property
    @abstractmethod
    def yuv_layout(self) -> YuvLayout | None:
        """None if its samples are others, or under RGB that was painted over them."""

    @abstractmethod
    def plane(self, number: int, box: Box) -> np.ndarray:
        """(h, w) uint8: the samples of a plane in ``box``, which counts samples and must lie inside. Not to be written
        to."""

    @abstractmethod
    def with_planes(self, box: Box, planes: Sequence[np.ndarray]) -> Frame:
        """A new frame with other samples of all planes in ``box``, in pixels; its edges are even."""


def yuv_frame(frame: Frame) -> tuple[YuvFrame, YuvLayout] | None:
    """The frame, and what its planes mean; None if it has none that can be painted."""
    if not isinstance(frame, YuvFrame):
        return None
    layout = frame.yuv_layout
    return None if layout is None else (frame, layout)

"""Drawing primitives on a canvas measured in face units.

Face units: origin midway between the pupils, x to the right of the frame, y down, 1 = distance between the pupils.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Number = float | np.floating | np.ndarray

_SUBPIXEL_BITS = 4  # polygon corners are rounded to 1/16 pixel


@dataclass(frozen=True)
class Grid:
    """A canvas of ``width`` x ``height`` pixels; pixel (0, 0) has its centre at (``left``, ``top``) face units."""

    left: float
    top: float
    width: int
    height: int
    scale: float  # pixels per face unit

    @classmethod
    def covering(cls, left: float, top: float, right: float, bottom: float, scale: float) -> Grid:
        """The canvas that reaches from one corner to the other, in face units."""
        width, height = (int(np.ceil((hi - lo) * scale)) + 1 for lo, hi in ((left, right), (top, bottom)))
        return cls(left, top, width, height, scale)

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """x (1, width) and y (height, 1) of the pixel centres, float32 face units: they broadcast to the canvas."""
        x = self.left + np.arange(self.width, dtype=np.float32) / np.float32(self.scale)
        y = self.top + np.arange(self.height, dtype=np.float32) / np.float32(self.scale)
        return x[None, :], y[:, None]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) face units -> (..., 2) pixels of this canvas."""
        return (np.asarray(points) - (self.left, self.top)) * self.scale

    def part(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice, Grid]:
        """Rows, columns and the grid of the pixels inside a rectangle, cut at the border of the canvas."""
        x0, x1 = (int(np.clip(round((x - self.left) * self.scale), 0, self.width)) for x in (left, right))
        y0, y1 = (int(np.clip(round((y - self.top) * self.scale), 0, self.height)) for y in (top, bottom))
        inner = Grid(self.left + x0 / self.scale, self.top + y0 / self.scale, x1 - x0, y1 - y0, self.scale)
        return slice(y0, y1), slice(x0, x1), inner

    def finer(self, factor: int) -> Grid:
        """The same area with ``factor`` x ``factor`` pixels for each one, for super-sampling."""
        inset = (factor - 1) / (2 * factor * self.scale)
        return Grid(self.left - inset, self.top - inset, self.width * factor, self.height * factor, self.scale * factor)

    def mask(self, polygon: np.ndarray) -> np.ndarray:
        """(height, width) float32 in [0, 1]: anti-aliased coverage of a closed polygon (M, 2) in face units."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        fill(canvas, self.pixels(polygon), 255)
        return canvas.astype(np.float32) / 255


def fill(canvas: np.ndarray, polygon: np.ndarray, color: float | tuple, *, smooth: bool = True) -> None:
    """Fill a polygon (M, 2) given in pixels, corners to 1/16 pixel, in place."""
    corners = np.round(polygon * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(canvas, [corners], color, lineType=line, shift=_SUBPIXEL_BITS)


def stroke(canvas: np.ndarray, lines: list[np.ndarray], color: float | tuple, thickness: float) -> None:
    """Draw open poly-lines (M, 2) given in pixels, in place; thickness is rounded to whole pixels, at least 1."""
    corners = [np.round(line * (1 << _SUBPIXEL_BITS)).astype(np.int32) for line in lines]
    cv2.polylines(
        canvas, corners, False, color, thickness=max(1, round(thickness)), lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS
    )


def smoothstep(low: Number, high: Number, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between them; falls instead of rising when ``low`` > ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def lump(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    """A Gaussian hill of height 1."""
    return np.exp(-(((x - centre[0]) / spread[0]) ** 2 + ((y - centre[1]) / spread[1]) ** 2) / 2)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, ``sigma`` in pixels, borders repeated."""
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REPLICATE)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> np.ndarray:
    """(H, W) float32 noise of mean 0 and deviation near 1; ``cell`` is the size in pixels of the coarsest blotches."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.0)
        coarse = rng.standard_normal((int(shape[0] / step) + 3, int(shape[1] / step) + 3)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += fine[: shape[0], : shape[1]] * np.float32(0.6**octave)
    return total / np.float32(np.sqrt(sum(0.36**octave for octave in range(octaves))) * 0.7)


def mix(base: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend ``other`` over ``base`` (H, W, 3) by ``weight`` (H, W); ``other`` may be a single color (3,)."""
    return base + (np.asarray(other, np.float32) - base) * weight[..., None]


def to_linear(color: np.ndarray | tuple) -> np.ndarray:
    """Display values in [0, 1] -> linear light (a plain gamma of 2.2 is close enough to sRGB here)."""
    return np.asarray(color, np.float32) ** np.float32(2.2)


def to_display(light: np.ndarray) -> np.ndarray:
    """Linear light -> display values in [0, 1]."""
    return np.clip(light, 0, 1) ** np.float32(1 / 2.2)


def to_bytes(display: np.ndarray) -> np.ndarray:
    """Display values in [0, 1] -> uint8."""
    return (np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8)

"""What is kept of an aligned face to tell later whether something is before it, and how two such looks compare.

A look is compared with one of another pose after this has been bent to it: a polynomial of second degree that brings
its landmarks above the lips to those of the first, which is what turning and nodding do to a face that is nearly flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from latentsync.face.similarity import transform

SIDE = 64  # cells of a look
ROWS = slice(16, SIDE)  # of the canvas that can be painted
FINE = 128  # side of the canvas on which the nose is compared
FARTHEST, WORST_FIT = 5.0, 1.2  # cells that the landmarks above the lips of two looks differ by on average, before one
# is bent to the other and after: else they are not compared
LEAST_FACE = 100.0  # frame pixels between the ends of the jaw line: the nose of a smaller face has too few
_SEARCH = 2  # pixels at FINE that the nose may have moved
_RANGE = np.ones((5, 5), np.uint8)
_EDGE = np.ones((5, 9), np.uint8)  # of the hull; wider at the sides, where hair comes in and a head turns out of view


def _powers(points: np.ndarray) -> np.ndarray:
    """(..., 6) float64: the terms of second degree of points (..., 2) in cells."""
    x, y = points[..., 0] / SIDE, points[..., 1] / SIDE
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


_CELLS = _powers(np.stack(np.meshgrid(np.arange(float(SIDE)), np.arange(float(SIDE))), axis=-1))


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of an aligned face; about 60 kB. Arrays (SIDE, SIDE[, 3]) uint8; colors are Y, Cr, Cb."""

    points: np.ndarray  # (68, 2) landmarks in cells
    colors: np.ndarray
    low: np.ndarray  # range of the colors around each cell
    high: np.ndarray
    skin: np.ndarray  # (3,) color of the nose
    face: np.ndarray  # 1 in the hull of the lower face
    ground: np.ndarray  # 1 where a thing can raise an alarm: the hull without its edge and the lips
    grey: np.ndarray  # (FINE, FINE)
    is_fine: bool  # the face is large enough to compare the nose

    @classmethod
    def of(cls, pixels: np.ndarray, matrix: np.ndarray, landmarks: np.ndarray) -> Look:
        """From an aligned face (3, R, R) float32 in [-1, 1], its matrix (2, 3) and landmarks (68, 2) in the frame."""
        side = pixels.shape[-1]
        fine = cv2.resize(pixels.transpose(1, 2, 0), (FINE, FINE), interpolation=cv2.INTER_AREA)
        fine = cv2.convertScaleAbs(fine + 1, alpha=127.5)
        colors = cv2.cvtColor(cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
        points = (transform(matrix, landmarks) + 0.5) * (SIDE / side) - 0.5
        face = filled(hull(np.concatenate([points[1:16], points[[29, 40, 47]]])))
        lips = filled(hull(points[48:60]))
        inner = cv2.erode(face, _EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        ground = cv2.subtract(inner, cv2.dilate(lips, np.ones((7, 7), np.uint8)))
        nose = colors[filled(points[[39, 42, 35, 31]]) > 0]
        width = float(np.linalg.norm(landmarks[16] - landmarks[0]))
        return cls(
            points, colors, cv2.erode(colors, _RANGE), cv2.dilate(colors, _RANGE),
            np.median(nose, axis=0) if len(nose) else np.full(3, 128.0), face, ground,
            cv2.GaussianBlur(cv2.cvtColor(fine, cv2.COLOR_RGB2GRAY), (0, 0), 1), width >= LEAST_FACE,
        )  # fmt: skip

    def comparable(self, others: Sequence[Look]) -> list[Look]:
        """Those of the others whose pose is near enough, bent to the pose of this one."""
        mine = self.points[:48]
        powers = _powers(mine)
        inverse = np.linalg.pinv(powers)
        near = []
        for other in others:
            theirs = other.points[:48]
            bend = inverse @ theirs
            if np.abs(mine - theirs).mean() <= FARTHEST and np.abs(powers @ bend - theirs).mean() <= WORST_FIT:
                near.append(other._bent((_CELLS @ bend).astype(np.float32), self.points))
        return near

    def _bent(self, places: np.ndarray, points: np.ndarray) -> Look:
        """With the cells that lie at ``places`` (SIDE, SIDE, 2); its landmarks are then ``points``."""
        colors = _moved(self.colors, places)
        scale = FINE / SIDE
        finer = (cv2.resize(places, (FINE, FINE)) + 0.5) * scale - 0.5
        grey = _moved(self.grey, finer)
        low, high = cv2.erode(colors, _RANGE), cv2.dilate(colors, _RANGE)
        return replace(self, points=points, colors=colors, low=low, high=high, grey=grey)

    def outside(self, other: Look, weights: np.ndarray) -> np.ndarray:
        """Grey levels by which the colors in ``ROWS`` lie outside the range of the other look, (rows, SIDE) uint8."""
        colors = cv2.add(self.colors[ROWS], np.append(other.skin - self.skin, 0.0))
        apart = cv2.max(cv2.subtract(colors, other.high[ROWS]), cv2.subtract(other.low[ROWS], colors))
        return cv2.transform(apart, weights)

    def off_skin(self) -> np.ndarray:
        """(SIDE, SIDE) float32: chroma levels by which a color lies off the line from the skin to grey."""
        chroma = self.colors[..., 1:].astype(np.float32) - 128
        skin = self.skin[1:] - 128
        along = np.clip(chroma @ (skin / max(float(skin @ skin), 1.0)), 0, 2)
        return np.linalg.norm(chroma - along[..., None] * skin, axis=-1)

    def nose_likeness(self, other: Look) -> float:
        """Correlation of the base of the nose with that of a look in the same pose, 1 where it cannot be compared."""
        points = (self.points + 0.5) * (FINE / SIDE) - 0.5
        left, top = np.maximum(np.round((points[31, 0] - 4, points[30, 1] - 2)).astype(int), _SEARCH)
        right, bottom = np.round((points[35, 0] + 5, points[33, 1] + 5)).astype(int)
        patch = self.grey[top:bottom, left:right]
        height, width = patch.shape
        around = other.grey[top - _SEARCH : top + height + _SEARCH, left - _SEARCH : left + width + _SEARCH]
        if min(height, width) < 6:
            return 1.0
        return float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).max())


def _moved(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    return cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def hull(points: np.ndarray) -> np.ndarray:
    """(n, 2) float32: the convex polygon around points (m, 2)."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def filled(polygon: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: 1 inside a polygon (n, 2) in cells."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon * 16).astype(np.int32)], 1, shift=4)
    return canvas

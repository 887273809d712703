"""What is kept of an aligned face to tell later whether something is before it, and how two such looks compare.

A look is compared with one of another pose after this has been bent to it: a polynomial of second degree that brings
its landmarks above the lips to those of the first, which is what turning and nodding do to a face that is nearly flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
_CELLS = np.ascontiguousarray(_CELLS.reshape(-1, 6).T.astype(np.float32))  # (6, cells)
_RIDGE = 1e-9 * np.eye(6)  # landmarks in a line determine no bend


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of an aligned face; about 40 kB. Arrays (SIDE, SIDE[, 3]) uint8; colors are Y, Cr, Cb."""

    points: np.ndarray  # (68, 2) landmarks in cells
    colors: np.ndarray
    skin: np.ndarray  # (3,) color of the nose
    face: np.ndarray  # 1 in the hull of the lower face
    ground: np.ndarray  # 1 where a thing can raise an alarm: the hull without its edge and the lips
    grey: np.ndarray  # (FINE, FINE)
    is_fine: bool  # the face is large enough to compare the nose

    @classmethod
    def of(cls, pixels: np.ndarray, matrix: np.ndarray, landmarks: np.ndarray) -> Look:
        """From an aligned face (3, R, R) float32 in [-1, 1], its matrix (2, 3) and landmarks (68, 2) in the frame."""
        side = pixels.shape[-1]
        fine = cv2.merge([cv2.resize(plane, (FINE, FINE), interpolation=cv2.INTER_AREA) for plane in pixels])
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
            points, colors, np.median(nose, axis=0) if len(nose) else np.full(3, 128.0), face, ground,
            cv2.GaussianBlur(cv2.cvtColor(fine, cv2.COLOR_RGB2GRAY), (0, 0), 1), width >= LEAST_FACE,
        )  # fmt: skip

    def comparable(self, others: Sequence[Look]) -> list[BentLook]:
        """Those of the others whose pose is near enough, bent to the pose of this one."""
        if not others:
            return []
        mine, theirs = self.points[:48], np.stack([other.points[:48] for other in others])
        powers = _powers(mine)
        bends = np.linalg.solve(powers.T @ powers + _RIDGE, powers.T) @ theirs  # (others, 6, 2)
        near = (np.abs(mine - theirs).mean(axis=(1, 2)) <= FARTHEST) & (
            np.abs(powers @ bends - theirs).mean(axis=(1, 2)) <= WORST_FIT
        )
        places = (bends[near].transpose(0, 2, 1).astype(np.float32) @ _CELLS).reshape(-1, 2, SIDE, SIDE)
        chosen = [other for other, is_near in zip(others, near, strict=True) if is_near]
        return [BentLook.of(other, each) for other, each in zip(chosen, places, strict=True)]

    def outside(self, other: BentLook, weights: np.ndarray) -> np.ndarray:
        """Grey levels by which the colors in ``ROWS`` lie outside the range of the other look, (rows, SIDE) uint8."""
        colors = cv2.add(self.colors[ROWS], np.append(other.skin - self.skin, 0.0))
        apart = cv2.max(cv2.subtract(colors, other.high), cv2.subtract(other.low, colors))
        return cv2.transform(apart, weights)

    def off_skin(self) -> np.ndarray:
        """(SIDE, SIDE) float32: chroma levels by which a color lies off the line from the skin to grey."""
        chroma = self.colors[..., 1:].astype(np.float32) - 128
        skin = self.skin[1:] - 128
        along = np.clip(chroma @ (skin / max(float(skin @ skin), 1.0)), 0, 2)
        off = chroma - along[..., None] * skin
        return np.hypot(off[..., 0], off[..., 1])

    def nose_likeness(self, others: Sequence[BentLook]) -> list[float]:
        """Correlations of the base of the nose with those of looks in the same pose, 1 where it cannot be compared."""
        points = (self.points + 0.5) * (FINE / SIDE) - 0.5
        left, top = np.maximum(np.round((points[31, 0] - 4, points[30, 1] - 2)).astype(int), _SEARCH)
        right, bottom = np.round((points[35, 0] + 5, points[33, 1] + 5)).astype(int)
        patch = self.grey[top:bottom, left:right]
        height, width = patch.shape
        if min(height, width) < 6:
            return [1.0] * len(others)
        box = left - _SEARCH, top - _SEARCH, left + width + _SEARCH, top + height + _SEARCH
        return [float(cv2.matchTemplate(other.grey(box), patch, cv2.TM_CCOEFF_NORMED).max()) for other in others]


@dataclass(frozen=True, slots=True)
class BentLook:
    """An earlier look bent to the pose of another one, as far as the two are compared. ``low`` and ``high``: range of
    the colors around each cell in ``ROWS``, (rows, SIDE, 3) uint8."""

    skin: np.ndarray
    low: np.ndarray
    high: np.ndarray
    _grey: np.ndarray
    _places: np.ndarray

    @classmethod
    def of(cls, look: Look, places: np.ndarray) -> BentLook:
        """With the cells of a look that lie at ``places`` (2, SIDE, SIDE) float32: x and y."""
        above = ROWS.start - len(_RANGE) // 2
        colors = _moved(look.colors, places[:, above:])
        low, high = (extreme(colors, _RANGE)[ROWS.start - above :] for extreme in (cv2.erode, cv2.dilate))
        return cls(look.skin, low, high, look.grey, places)

    def grey(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """The part of the grey image in ``box`` (x0, y0, x1, y1) that lies inside it."""
        scale = FINE // SIDE
        x0, y0, x1, y1 = (min(max(edge, 0), FINE) for edge in box)
        left, top, right, bottom = x0 // scale, y0 // scale, -(-x1 // scale), -(-y1 // scale)
        left, top = max(left - 1, 0), max(top - 1, 0)  # what lies beside it is interpolated with
        cells = self._places[:, top : bottom + 1, left : right + 1]
        finer = [(cv2.resize(each, None, fx=scale, fy=scale) + 0.5) * scale - 0.5 for each in cells]
        own = slice(y0 - scale * top, y1 - scale * top), slice(x0 - scale * left, x1 - scale * left)
        return _moved(self._grey, [each[own] for each in finer])


def _moved(image: np.ndarray, places: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    return cv2.remap(image, places[0], places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def hull(points: np.ndarray) -> np.ndarray:
    """(n, 2) float32: the convex polygon around points (m, 2)."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def filled(polygon: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: 1 inside a polygon (n, 2) in cells."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon * 16).astype(np.int32)], 1, shift=4)
    return canvas

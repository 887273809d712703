"""Eyes, painted anew in every frame: ball, iris, lids, lashes."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.talkers.geometry import EYE_X, eye_curves
from latentsync.data.talkers.identity import Identity
from latentsync.data.talkers.raster import Grid, fill, stroke, to_bytes, to_display, to_linear
from latentsync.data.talkers.shading import Light

_SUPERSAMPLING = 3
_IRIS_RADIUS = 0.098
_GAZE_REACH = 0.075  # face units that the iris moves for a gaze of 1


class EyePainter:
    """Paints one eye of one person into that person's face texture."""

    def __init__(self, identity: Identity, side: int, grid: Grid, skin: np.ndarray, light: Light) -> None:
        """``side`` -1 or 1 (left or right as drawn), ``grid`` of the texture, ``skin`` (H, W, 3) uint8 bare face."""
        self.shape, self.side = identity.shape, side
        self.rows, self.columns, patch = grid.part(side * EYE_X - 0.34, -0.24, side * EYE_X + 0.34, 0.22)
        self.fine = patch.finer(_SUPERSAMPLING)
        size = (self.fine.width, self.fine.height)
        bare = skin[self.rows, self.columns]
        self.bare = cv2.resize(bare, size, interpolation=cv2.INTER_CUBIC)
        glow = np.asarray(light.ambient) + 0.62 * np.asarray(light.color)
        self.white = _bytes((0.86, 0.83, 0.82), glow)
        self.iris, self.rim = _bytes(identity.iris, glow), _bytes(np.multiply(identity.iris, 0.42), glow)
        self.inner = _bytes(np.minimum(np.multiply(identity.iris, 1.45), 1), glow)
        self.pink = _bytes((0.74, 0.45, 0.42), glow)
        lid = bare[bare.shape[0] // 4].reshape(-1, 3).mean(0)
        self.lash = tuple(float(v) for v in lid * 0.12 + np.array(identity.hair) * 30)
        self.crease = tuple(float(v) for v in lid * 0.62)
        self.lid = tuple(float(v) for v in lid * 0.93)
        self._shown: tuple | None = None
        self._patch = bare
        self.glint = -0.4 * np.sign(light.direction[0] or 1.0)

    def paint(self, texture: np.ndarray, closure: float, gaze: tuple[float, float]) -> None:
        """Draw the eye into ``texture`` (H, W, 3) uint8 in place; ``closure`` 0 open to 1 shut, ``gaze`` in [-1, 1]."""
        if (closure, gaze) != self._shown:  # eyes keep still for many frames
            self._shown, self._patch = (closure, gaze), self._draw(closure, gaze)
        texture[self.rows, self.columns] = self._patch

    def _draw(self, closure: float, gaze: tuple[float, float]) -> np.ndarray:
        upper, lower = eye_curves(self.shape, self.side, closure)
        canvas = self.bare.copy()
        self._fold(canvas, closure)
        if closure < 0.92:
            ball = self._ball(gaze, upper)
            opening = np.zeros(canvas.shape[:2], np.uint8)
            fill(opening, self._pixels(np.concatenate([upper, lower[::-1]])), 255)
            cv2.copyTo(ball, opening, canvas)
        unit = self.fine.scale
        stroke(canvas, [self._pixels(lower)], self.crease, 0.018 * unit)
        thick = self._pixels(np.concatenate([upper + (0, 0.012), (upper - (0, 0.030))[::-1]]))
        fill(canvas, thick, self.lash)
        wing = upper[-1 if self.side > 0 else 0]
        stroke(canvas, [self._pixels(np.stack([wing, wing + (0.05 * self.side, -0.035)]))], self.lash, 0.018 * unit)
        size = (canvas.shape[1] // _SUPERSAMPLING, canvas.shape[0] // _SUPERSAMPLING)
        return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)

    def _ball(self, gaze: tuple[float, float], upper: np.ndarray) -> np.ndarray:
        unit = self.fine.scale
        ball = np.empty_like(self.bare)
        ball[:] = self.white
        corner = self._pixels(np.array([[self.side * (EYE_X - self.shape.eye_width / 2 + 0.01), 0.012]]))[0]
        _disc(ball, corner, 0.035 * unit, self.pink)
        centre = np.array([self.side * EYE_X + gaze[0] * _GAZE_REACH, -0.022 + gaze[1] * _GAZE_REACH * 0.6])
        middle = self._pixels(centre[None])[0]
        _disc(ball, middle, _IRIS_RADIUS * unit, self.rim)
        _disc(ball, middle, _IRIS_RADIUS * 0.86 * unit, self.iris)
        _disc(ball, middle + (0, 0.018 * unit), _IRIS_RADIUS * 0.62 * unit, self.inner)
        _disc(ball, middle, _IRIS_RADIUS * 0.44 * unit, (12, 10, 10))
        shadow = np.zeros(ball.shape[:2], np.uint8)
        fill(shadow, self._pixels(np.concatenate([upper - (0, 0.2), (upper + (0, 0.045))[::-1]])), 100)
        shadow = cv2.blur(shadow, (9, 9))
        ball = cv2.multiply(ball, cv2.merge([255 - shadow] * 3), scale=1 / 255)
        _disc(ball, middle + (self.glint * 0.10 * unit, -0.035 * unit), 0.021 * unit, (250, 250, 250))
        return ball

    def _fold(self, canvas: np.ndarray, closure: float) -> None:
        """Skin of the upper lid and the crease over it."""
        open_upper, _ = eye_curves(self.shape, self.side, 0.0)
        upper, _ = eye_curves(self.shape, self.side, closure)
        crease = open_upper - (0, 0.065 - 0.02 * closure)
        fill(canvas, self._pixels(np.concatenate([crease[1:-1], upper[::-1]])), self.lid)
        stroke(canvas, [self._pixels(crease[1:-1])], self.crease, 0.014 * self.fine.scale)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return self.fine.pixels(points)


def _disc(canvas: np.ndarray, centre: np.ndarray, radius: float, color: tuple) -> None:
    x, y = (round(float(v) * 16) for v in centre)
    cv2.circle(canvas, (x, y), max(1, round(radius * 16)), color, -1, cv2.LINE_AA, 4)


def _bytes(color: tuple | np.ndarray, glow: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = to_bytes(to_display(to_linear(color) * np.clip(glow, 0, 1.1)))
    return int(red), int(green), int(blue)

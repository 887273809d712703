"""Things that are held before a mouth: a bar, a microphone, a cup. They have the truth that a segmenter is judged by.

A thing is a flat layer in face units, like the hand of ``backdrop``; its middle comes to rest before the mouth.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.talkers.backdrop import Layer
from latentsync.data.talkers.raster import Grid, smooth_noise, smoothstep, to_bytes, to_display, to_linear
from latentsync.data.talkers.shading import Light, shade

THINGS = ("bar", "microphone", "cup")
_EDGE = 0.015  # half the width of a soft edge, face units


def paint_thing(kind: str, rng: np.random.Generator, light: Light, scale: float) -> Layer:
    """One of ``THINGS``, ``scale`` pixels per face unit; (0, 0) comes before the mouth.

    Color, pattern and size are drawn from ``rng``. Raises ``ValueError`` for another kind.
    """
    if kind not in THINGS:
        raise ValueError(f"a thing is one of {', '.join(THINGS)}, not {kind!r}")
    return {"bar": _bar, "microphone": _microphone, "cup": _cup}[kind](rng, light, scale)


def _bar(rng: np.random.Generator, light: Light, scale: float) -> Layer:
    """A straight bar across the face, tilted, wider than the head."""
    grid = Grid.covering(-3.2, -1.0, 3.2, 1.0, scale)
    x, y = grid.axes()
    half, tilt = rng.uniform(0.12, 0.24), rng.uniform(-0.22, 0.22)
    across = y - tilt * x
    cover = smoothstep(half + _EDGE, half - _EDGE, np.abs(across))
    height = 0.7 * np.sqrt(np.clip(half**2 - across**2, 0, None))
    return _lit(grid, _any_color(rng), height, cover, light)


def _microphone(rng: np.random.Generator, light: Light, scale: float) -> Layer:
    """A head of wire mesh before the lips and a handle that comes from below."""
    grid = Grid.covering(-0.7, -0.6, 0.7, 3.4, scale)
    x, y = grid.axes()
    radius = rng.uniform(0.34, 0.46)
    ball = np.sqrt(np.clip(radius**2 - x**2 - (y - 0.1) ** 2, 0, None))
    width = 0.17 + 0.02 * np.clip(1.5 - y, 0, 1)
    handle = smoothstep(width + _EDGE, width - _EDGE, np.abs(x)) * smoothstep(radius - 0.1, radius, y)
    head = smoothstep(radius + _EDGE, radius - _EDGE, np.hypot(x, y - 0.1))
    mesh = 0.012 * np.sin(2 * np.pi * 9 * x) * np.sin(2 * np.pi * 9 * y)
    height = np.maximum(ball + mesh * head, 0.8 * np.sqrt(np.clip(width**2 - x**2, 0, None)) * handle)
    grey = rng.uniform(0.08, 0.45)
    return _lit(grid, np.array([grey, grey, grey * rng.uniform(0.95, 1.1)]), height, np.maximum(head, handle), light)


def _cup(rng: np.random.Generator, light: Light, scale: float) -> Layer:
    """A cup with its rim below the nose."""
    grid = Grid.covering(-0.9, -0.6, 0.9, 1.6, scale)
    x, y = grid.axes()
    half = rng.uniform(0.45, 0.6) - 0.08 * smoothstep(-0.4, 1.3, y)
    inside = smoothstep(half + _EDGE, half - _EDGE, np.abs(x))
    cover = inside * smoothstep(-0.42 - _EDGE, -0.42 + _EDGE, y) * smoothstep(1.3 + _EDGE, 1.3 - _EDGE, y)
    height = np.sqrt(np.clip(half**2 - x**2, 0, None)) + 0 * y
    return _lit(grid, _any_color(rng), height, cover, light)


def _any_color(rng: np.random.Generator) -> np.ndarray:
    """(3,) display values: a hue of any kind, or one in four times a grey."""
    value = rng.uniform(0.2, 0.9)
    if rng.random() < 0.25:
        return np.full(3, value)
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.35, 0.9), value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def _lit(grid: Grid, color: np.ndarray, height: np.ndarray, cover: np.ndarray, light: Light) -> Layer:
    shape = (grid.height, grid.width)
    albedo = np.ones((*shape, 3), np.float32) * to_linear(np.asarray(color, np.float32))
    albedo *= (1 + 0.03 * smooth_noise(np.random.default_rng(5), shape, 0.1 * grid.scale, 2))[..., None]
    lit = shade(albedo, np.broadcast_to(height, shape).astype(np.float32), light, grid.scale, 0.3)
    return Layer(grid, to_bytes(to_display(lit)), to_bytes(np.broadcast_to(cover, shape).astype(np.float32))).trimmed()

"""Light on a height field: diffuse with softened edges, a highlight, cast shadow and darker hollows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.data.talkers.raster import blur

_WRAP = np.array((0.38, 0.22, 0.16), np.float32)  # light that creeps round edges inside skin: most of it is red
_SHADOW_STEPS = 8
_SHADOW_REACH = 0.5  # face units along the light in which something may cast a shadow


@dataclass(frozen=True)
class Light:
    """A lamp and its surroundings. ``direction`` points to the lamp: x right, y down, z to the camera, unit length."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    ambient: tuple[float, float, float]


def make_light(rng: np.random.Generator) -> Light:
    """A lamp somewhere above the camera, from warm to cool, hard to soft."""
    side = rng.uniform(-0.65, 0.65)
    direction = np.array((side, -rng.uniform(0.25, 0.7), rng.uniform(0.75, 1.1)))
    warmth = rng.uniform(-0.10, 0.14)
    strength = rng.uniform(0.72, 0.95)
    fill = rng.uniform(0.26, 0.42)
    return Light(
        direction=tuple(direction / np.linalg.norm(direction)),
        color=tuple(strength * np.array((1 + warmth, 1.0, 1 - warmth))),
        ambient=tuple(fill * np.array((1 - 0.5 * warmth, 1.0, 1 + 0.5 * warmth))),
    )


def shade(
    albedo: np.ndarray, height: np.ndarray, light: Light, scale: float, gloss: np.ndarray | float, wrap: float = 1.0
) -> np.ndarray:
    """(H, W, 3) linear light that reaches the camera from a surface.

    ``albedo`` (H, W, 3) linear, ``height`` (H, W) towards the camera in face units, ``scale`` pixels per face unit,
    ``gloss`` strength of the highlight, ``wrap`` how much light creeps round edges (1 = skin, 0 = none).
    """
    normal = normals(height, scale)
    direction = np.asarray(light.direction, np.float32)
    facing = normal @ direction
    creep = _WRAP * wrap
    diffuse = np.clip((facing[..., None] + creep) / (1 + creep), 0, None)
    diffuse *= (1 - 0.75 * _cast_shadow(height, direction, scale))[..., None]
    hollow = np.clip(1 - 1.5 * np.clip(blur(height, 0.16 * scale) - height, 0, None), 0.45, 1)[..., None]
    half = direction + (0, 0, 1)
    half /= np.linalg.norm(half)
    highlight = np.clip(normal @ half.astype(np.float32), 0, None) ** 22 * gloss
    lit = albedo * (diffuse * np.asarray(light.color, np.float32) + hollow * np.asarray(light.ambient, np.float32))
    return lit * (0.5 + 0.5 * hollow) + highlight[..., None] * np.asarray(light.color, np.float32) * 0.16


def normals(height: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 3) unit normals of a height field."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale / 8)
    normal = np.dstack([-slope_x, -slope_y, np.ones_like(height)])
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _cast_shadow(height: np.ndarray, direction: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) in [0, 1]: how deep each point lies under something between it and the lamp."""
    depth = np.zeros_like(height)
    rows, columns = height.shape
    for step in np.linspace(0.08, 1, _SHADOW_STEPS) * _SHADOW_REACH:
        shift = np.array([[1, 0, direction[0] * step * scale], [0, 1, direction[1] * step * scale]], np.float32)
        towards = cv2.warpAffine(
            height,
            shift,
            (columns, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.maximum(depth, towards - height - direction[2] * step, out=depth)
    return blur(np.clip(depth * 9, 0, 1), 0.035 * scale)

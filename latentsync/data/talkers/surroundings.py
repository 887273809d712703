"""What stands behind, below and before a head: the room, neck and shoulders, a hand, and things that are held before
the mouth (a bar, a microphone, a cup), which have the truth that a segmenter is judged by.

A thing is a flat layer in face units, as the hand is; its middle comes to rest before the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from latentsync.data.talkers.identity import Identity, make_identity
from latentsync.data.talkers.raster import (
    Grid,
    blur,
    lump,
    mix,
    smooth_noise,
    smoothstep,
    to_bytes,
    to_display,
    to_linear,
)
from latentsync.data.talkers.shading import Light, make_light, shade

ROOMS = ("wall", "lights", "shelf", "window", "outdoors")
THINGS = ("bar", "microphone", "cup")
HAND = "hand"  # beside them, also before the mouth
_EDGE = 0.015  # half the width of a soft edge, face units


@dataclass(frozen=True)
class Layer:
    """An image with cover on a canvas in face units: ``color`` (H, W, 3) and ``cover`` (H, W), both uint8."""

    grid: Grid
    color: np.ndarray
    cover: np.ndarray

    def trimmed(self) -> Layer:
        """The same without the empty margins."""
        rows, columns = (np.nonzero(self.cover.any(axis=axis))[0] for axis in (1, 0))
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        left, top = (lo + at / self.grid.scale for lo, at in ((self.grid.left, columns[0]), (self.grid.top, rows[0])))
        cover = np.ascontiguousarray(self.cover[part])
        grid = Grid(left, top, cover.shape[1], cover.shape[0], self.grid.scale)
        return Layer(grid, np.ascontiguousarray(self.color[part]), cover)


def paint_room(rng: np.random.Generator, width: int, height: int, light: Light) -> np.ndarray:
    """(height, width, 3) uint8: an out-of-focus place, lit like the face."""
    side = min(width, height)
    # painted small and enlarged: everything in it is out of focus
    small = (max(16, round(64 * height / side)), max(16, round(64 * width / side)))
    room = str(rng.choice(ROOMS))
    base = rng.uniform(0.2, 0.75, 3) * 0.3 + rng.uniform(0.2, 0.75) * 0.7  # muted
    canvas = np.ones((*small, 3), np.float32) * base.astype(np.float32)
    painter = {"wall": _wall, "lights": _lights, "shelf": _shelf, "window": _window, "outdoors": _outdoors}[room]
    sharpness = painter(rng, canvas)
    canvas = blur(np.clip(canvas, 0, 1), sharpness)
    x = np.linspace(-1, 1, small[1])[None, :]
    y = np.linspace(-1, 1, small[0])[:, None]
    canvas *= (1 + 0.22 * (x * light.direction[0] + y * light.direction[1]) - 0.10 * (x * x + y * y))[..., None]
    big = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_CUBIC)
    lit = to_linear(np.clip(big, 0, 1)) * (np.asarray(light.color) * 0.75 + np.asarray(light.ambient)).astype(
        np.float32
    )
    return to_bytes(to_display(lit) + 0.006 * rng.standard_normal((height, width, 1)).astype(np.float32))


def paint_body(identity: Identity, light: Light, scale: float) -> Layer:
    """Neck, shoulders and clothes, placed like the untilted head."""
    rng = np.random.default_rng([identity.texture_seed, 11])
    shape = identity.shape
    grid = Grid.covering(-4.2, 0.7, 4.2, 5.2, scale)
    x, y = grid.axes()
    neck_half = 0.70 * shape.jaw + 0.02 + 0.40 * smoothstep(shape.chin_y + 0.10, shape.chin_y + 0.85, y) ** 2
    neck = smoothstep(neck_half + 0.012, neck_half - 0.012, np.abs(x))
    top = shape.chin_y + 0.50
    slope = (
        top + 0.42 * smoothstep(0.55, 2.2, np.abs(x)) + 0.10 * np.abs(x) + 2.4 * smoothstep(2.2, 3.3, np.abs(x)) ** 2
    )
    torso = smoothstep(slope - 0.02, slope + 0.02, y)
    neck_height = np.sqrt(np.clip(1 - (x / (neck_half * 1.08)) ** 2, 0.02, 1)) * 0.6
    chin_shadow = lump(x, y, (0, shape.chin_y - 0.02), (0.85, 0.36))
    skin = np.ones((grid.height, grid.width, 3), np.float32) * to_linear(identity.skin) * (0.97, 0.92, 0.90)
    skin = shade(
        skin.astype(np.float32), np.broadcast_to(neck_height, neck.shape).astype(np.float32), light, scale, 0.2
    )
    skin *= (1 - 0.62 * chin_shadow)[..., None]
    folds = smooth_noise(rng, neck.shape, 0.9 * scale, 3) * 0.07
    weave = smooth_noise(rng, neck.shape, 0.03 * scale, 1) * 0.004
    bulk = 0.9 * np.sqrt(np.clip(1 - (x / 3.2) ** 2, 0.02, 1)) * smoothstep(top - 0.3, top + 1.2, y - slope + top)
    cloth = np.ones_like(skin) * to_linear(identity.cloth)
    cloth = shade(cloth, (bulk + folds + weave).astype(np.float32), light, scale, 0.05, wrap=0.3)
    opening = _neckline(identity, x, y, top)
    cloth_cover = torso * (1 - opening)
    rim = blur(np.ascontiguousarray(opening, np.float32), 0.07 * scale) * (1 - opening)
    cloth *= (1 - 0.5 * np.clip(rim, 0, 1))[..., None]
    image = mix(skin, cloth, cloth_cover.astype(np.float32))
    cover = np.maximum(neck * smoothstep(0.7, 0.8, y), torso)
    return Layer(grid, to_bytes(to_display(image)), to_bytes(cover)).trimmed()


def paint_hand(identity: Identity, light: Light, scale: float) -> Layer:
    """The back of a hand, fingers up, about as large as the lower face; (0, 0) is its middle."""
    rng = np.random.default_rng([identity.texture_seed, 13])
    grid = Grid.covering(-1.0, -1.3, 1.0, 2.4, scale)
    canvas = np.zeros((grid.height, grid.width), np.uint8)

    def limb(start: tuple[float, float], end: tuple[float, float], width: float) -> None:
        a, b = (tuple(int(v) for v in np.round(grid.pixels(np.array(p)) * 16)) for p in (start, end))
        cv2.line(canvas, a, b, 255, max(1, round(width * scale)), cv2.LINE_AA, 4)

    for place, (length, lean) in enumerate(((0.78, -0.16), (0.98, -0.05), (0.92, 0.05), (0.70, 0.17))):
        root = -0.42 + 0.28 * place
        limb((root, 0.1), (root + lean, 0.1 - length), 0.24 - 0.01 * place)
    limb((-0.42, 0.55), (-0.80, 0.05), 0.25)
    limb((0.0, 0.25), (0.0, 0.55), 0.98)
    limb((0.02, 0.7), (0.05, 2.3), 0.66)
    cover = canvas.astype(np.float32) / 255
    depth = cv2.distanceTransform((canvas > 127).astype(np.uint8), cv2.DIST_L2, 5) / scale
    height = np.sqrt(np.clip(depth, 0, 0.16)) * 0.62
    height = blur(height.astype(np.float32), 0.03 * scale)
    albedo = np.ones((*cover.shape, 3), np.float32) * to_linear(identity.skin) * (0.96, 0.86, 0.84)
    albedo *= (1 + 0.05 * smooth_noise(rng, cover.shape, 0.2 * scale, 3))[..., None]
    lit = shade(albedo.astype(np.float32), height, light, scale, 0.3)
    return Layer(grid, to_bytes(to_display(lit)), canvas).trimmed()


def _neckline(identity: Identity, x: np.ndarray, y: np.ndarray, top: float) -> np.ndarray:
    if identity.collar == "v":
        return smoothstep(0.02, -0.02, np.abs(x) * 1.5 + y - top - 1.05)
    depth = 0.30 if identity.collar == "round" else 0.16
    return smoothstep(1.02, 0.98, np.hypot(x / 0.80, (y - top + 0.05) / (depth + 0.25)))


def _wall(rng: np.random.Generator, canvas: np.ndarray) -> float:
    canvas *= (1 + 0.05 * smooth_noise(rng, canvas.shape[:2], 30, 2))[..., None]
    if rng.random() < 0.5:
        edge = int(canvas.shape[0] * rng.uniform(0.5, 0.75))
        canvas[edge:] *= rng.uniform(0.6, 0.85)
    return 1.2


def _lights(rng: np.random.Generator, canvas: np.ndarray) -> float:
    canvas *= 0.4
    for _ in range(26):
        centre = (int(rng.integers(canvas.shape[1])), int(rng.integers(canvas.shape[0])))
        color = rng.uniform(0.35, 1.0, 3) * (1.0, 0.85, 0.65)
        spot = np.zeros_like(canvas)
        cv2.circle(spot, centre, int(rng.integers(2, 7)), tuple(float(c) for c in color), -1)
        canvas += spot * rng.uniform(0.2, 0.6)
    return 0.9


def _shelf(rng: np.random.Generator, canvas: np.ndarray) -> float:
    height, width = canvas.shape[:2]
    row = 0
    while row < height:
        tall = int(rng.integers(11, 18))
        column = 0
        while column < width:
            wide = int(rng.integers(2, 6))
            top = row + int(rng.integers(1, 5))
            canvas[top : row + tall - 1, column : column + wide] = (
                rng.uniform(0.1, 0.8, 3) * 0.5 + rng.uniform(0.1, 0.7) * 0.5
            )
            column += wide
        canvas[row + tall - 1 : row + tall + 1] = (0.35, 0.24, 0.15)
        row += tall + 1
    return 1.3


def _window(rng: np.random.Generator, canvas: np.ndarray) -> float:
    height, width = canvas.shape[:2]
    x0, y0 = int(width * rng.uniform(-0.1, 0.5)), int(height * rng.uniform(-0.1, 0.2))
    x1, y1 = x0 + int(width * rng.uniform(0.3, 0.6)), y0 + int(height * rng.uniform(0.5, 0.8))
    canvas[max(y0, 0) : y1, max(x0, 0) : x1] = (0.86, 0.93, 1.0)
    canvas[max(y0, 0) : y1, max((x0 + x1) // 2, 0) : (x0 + x1) // 2 + 2] = (0.5, 0.48, 0.45)
    return 1.4


def _outdoors(rng: np.random.Generator, canvas: np.ndarray) -> float:
    height = canvas.shape[0]
    horizon = int(height * rng.uniform(0.35, 0.65))
    canvas[:horizon] = np.linspace((0.45, 0.65, 0.92), (0.80, 0.87, 0.93), horizon)[:, None]
    leaves = smooth_noise(rng, canvas.shape[:2], 14, 4)
    green = np.array((0.30, 0.42, 0.18)) * rng.uniform(0.7, 1.2)
    weight = smoothstep(-0.2, 0.4, leaves + (np.arange(height)[:, None] - horizon) / 12)
    canvas[:] = mix(canvas, green, weight) * (1 + 0.12 * leaves * weight)[..., None]
    return 1.6


def paint_thing(kind: str, rng: np.random.Generator, light: Light, scale: float) -> Layer:
    """One of ``THINGS``, ``scale`` pixels per face unit; (0, 0) comes before the mouth.

    Color, pattern and size are drawn from ``rng``. Raises ``ValueError`` for another kind.
    """
    if kind not in THINGS:
        raise ValueError(f"a thing is one of {', '.join(THINGS)}, not {kind!r}")
    return {"bar": _bar, "microphone": _microphone, "cup": _cup}[kind](rng, light, scale)


def paint_before(kind: str, seed: int, skin: tuple[float, float, float], scale: float) -> Layer:
    """A hand (``HAND``) with that ``skin``, display RGB in [0, 1], or one of ``THINGS``, to lay before a face that is
    not drawn: kind of hand or thing and light are of the ``seed``. Raises as ``paint_thing``."""
    rng = np.random.default_rng([seed, 54])
    light = make_light(rng)
    if kind == HAND:
        return paint_hand(replace(make_identity(seed), skin=skin), light, scale)
    return paint_thing(kind, rng, light, scale)


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

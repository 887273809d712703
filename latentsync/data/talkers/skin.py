"""The bare face: its relief and the color of its skin, lit, at rest and with closed, lipless mouth.

Lips and eyes change from frame to frame and are painted over this (``mouth``, ``eyes``).
"""

from __future__ import annotations

import numpy as np

from latentsync.data.talkers.geometry import EYE_X, brow_line, half_width
from latentsync.data.talkers.identity import FaceShape, Identity
from latentsync.data.talkers.raster import Grid, lump, mix, smooth_noise, smoothstep, stroke, to_linear
from latentsync.data.talkers.shading import Light, shade


def relief(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far nose, brows, chin and so on stand out of the plain head at points of the face; face units."""
    return _nose(shape, x, y) + _sockets(shape, x, y) + _lower_face(shape, x, y)


def skin_height(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the skin over the plane of the ears, float32: what is lit."""
    half = 1.10 * half_width(shape, np.clip(y, shape.crown_y + 0.1, shape.chin_y - 0.12))
    under_chin = np.sqrt(1 - np.clip((y - shape.chin_y + 0.30) / 0.56, 0, 0.98) ** 2)
    base = np.sqrt(np.clip(1 - np.abs(x / half) ** 2.2, 0, 1)) * 0.85 * np.tanh(half / 0.75) * under_chin
    return (base + relief(shape, x, y)).astype(np.float32)


def lit_skin(identity: Identity, height: np.ndarray, grid: Grid, light: Light, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) linear light of the bare face; also outside its outline, so that nothing shines through at the edge."""
    shape = identity.shape
    x, y = grid.axes()
    albedo = np.ones((grid.height, grid.width, 3), np.float32) * to_linear(identity.skin)
    ruddy = to_linear(identity.skin) * (1.0, 0.62, 0.60)
    flush = (
        sum(lump(x, y, (side * 0.62, 0.48), (0.24, 0.20)) for side in (-1, 1)) * 0.55
        + lump(x, y, (0, shape.nose_y - 0.12), (0.17, 0.14)) * 0.5
        + lump(x, y, (0, shape.chin_y - 0.15), (0.2, 0.12)) * 0.25
    )
    blotches = smooth_noise(rng, (grid.height, grid.width), 0.35 * grid.scale, 4)
    albedo = mix(albedo, ruddy, np.clip(flush * identity.blush * 0.7 + 0.06 * blotches, 0, 1))
    tired = lump(x, y, (-EYE_X, 0.17), (0.20, 0.07)) + lump(x, y, (EYE_X, 0.17), (0.20, 0.07))
    albedo *= (1 - 0.10 * (0.5 + identity.age) * tired)[..., None]
    albedo *= (1 + 0.025 * smooth_noise(rng, (grid.height, grid.width), 0.05 * grid.scale, 2))[..., None]
    if identity.freckles:
        spots = smooth_noise(rng, (grid.height, grid.width), 0.045 * grid.scale, 1)
        where = lump(x, y, (0, 0.42), (0.7, 0.25))
        albedo *= (1 - identity.freckles * 0.35 * smoothstep(1.1, 1.8, spots) * where)[..., None]
    pores = smooth_noise(rng, (grid.height, grid.width), 0.03 * grid.scale, 1)
    bumpy = height + np.float32(0.0006) * pores + _wrinkles(identity, x, y).astype(np.float32)
    oily = 0.35 + 0.65 * lump(x, y, (0, 0.1), (0.35, 0.9))
    light_out = shade(albedo, bumpy, light, grid.scale, (identity.gloss * oily).astype(np.float32))
    _darken_nostrils(light_out, shape, x, y)
    return light_out


def paint_brows(canvas: np.ndarray, identity: Identity, grid: Grid, rng: np.random.Generator) -> None:
    """Draw both brows hair by hair onto lit skin, in place."""
    shape = identity.shape
    cover = np.zeros(canvas.shape[:2], np.uint8)
    for side in (-1, 1):
        line = brow_line(shape, side, 41)
        count = int(240 + 900 * shape.brow_thickness)
        s = rng.uniform(0, 1, count)
        taper = np.where(s < 0.15, 0.6 + 2.6 * s, np.minimum(1.0, 1.25 * (1 - s) + 0.12))
        root = (
            line[(s * 40).astype(int)]
            + [0, 1] * (rng.uniform(-0.5, 0.5, count) * shape.brow_thickness * taper)[:, None]
        )
        lean = np.stack([side * (0.25 + 0.75 * s), -0.55 + 0.75 * s], axis=-1)
        tip = root + lean * (0.075 * (0.6 + 0.4 * taper))[:, None]
        hairs = [grid.pixels(np.stack(pair)) for pair in zip(root, tip, strict=True)]
        stroke(cover, hairs, 150, 0.012 * grid.scale)
    weight = cover.astype(np.float32) / 255
    canvas[:] = mix(canvas, to_linear(np.array(identity.hair) * 0.72) * 0.55, np.clip(weight * 1.25, 0, 0.92))


def _nose(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    tip_y = shape.nose_y - 0.13
    run = np.clip((y + 0.18) / (tip_y + 0.18), 0, 1)
    width = 0.085 + 0.055 * run
    bridge = (0.05 + (shape.nose_height - 0.05) * run**1.5) * np.exp(-((x / width) ** 2) / 2)
    ends = smoothstep(-0.36, -0.02, y) * smoothstep(shape.nose_y + 0.03, shape.nose_y - 0.13, y)
    wings = sum(lump(x, y, (side * shape.nose_half * 0.74, shape.nose_y - 0.085), (0.075, 0.07)) for side in (-1, 1))
    return bridge * ends + 0.17 * wings + 0.09 * lump(x, y, (0, tip_y), (0.11, 0.09))


def _sockets(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total: np.ndarray | float = 0.0
    for side in (-1, 1):
        total = total - 0.15 * lump(x, y, (side * 0.47, -0.03), (0.25, 0.15))
        total = total + 0.07 * lump(x, y, (side * EYE_X, 0.0), (0.15, 0.12))
        total = total + 0.06 * lump(x, y, (side * 0.45, shape.brow_y + 0.05), (0.30, 0.08))
        total = total + 0.06 * lump(x, y, (side * 0.68, 0.44), (0.24, 0.20))
    return np.asarray(total)


def _lower_face(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    below_lip = shape.mouth_y + shape.lower_lip + 0.08
    philtrum = np.exp(-((x / 0.035) ** 2) / 2) * np.exp(-(((y - shape.mouth_y + 0.2) / 0.08) ** 2) / 2)
    return (
        0.07 * lump(x, y, (0, shape.mouth_y - 0.02), (0.34, 0.22))
        - 0.045 * lump(x, y, (0, below_lip), (0.2, 0.055))
        + 0.10 * lump(x, y, (0, shape.chin_y - 0.2), (0.17, 0.12))
        - 0.012 * philtrum
    )


def _wrinkles(identity: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    shape = identity.shape
    folds = 0.0
    for side in (-1, 1):
        start, end = np.array((0.30, shape.nose_y - 0.08)), np.array((0.54, shape.mouth_y + 0.02))
        along = np.clip(((side * x - start[0]) * (end - start)[0] + (y - start[1]) * (end - start)[1])
                        / np.sum((end - start) ** 2), 0, 1)  # fmt: skip
        gap = np.hypot(side * x - start[0] - along * (end - start)[0], y - start[1] - along * (end - start)[1])
        folds = folds - (0.008 + 0.022 * identity.age) * np.exp(-((gap / 0.05) ** 2))
    lined = max(0.0, identity.age - 0.35)
    forehead = np.cos(2 * np.pi * (y + 0.05 * x * x) / 0.17) * lump(x, y, (0, -0.72), (0.5, 0.16))
    return folds + 0.010 * lined * forehead


def _darken_nostrils(canvas: np.ndarray, shape: FaceShape, x: np.ndarray, y: np.ndarray) -> None:
    holes = sum(
        lump(
            x,
            y - 0.12 * side * x,
            (side * shape.nose_half * 0.42, shape.nose_y - 0.035 - 0.05 * shape.nose_half),
            (0.050, 0.022),
        )
        for side in (-1, 1)
    )
    canvas *= (1 - 0.86 * np.clip(holes * 1.3, 0, 1))[..., None]

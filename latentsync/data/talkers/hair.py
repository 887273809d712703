"""Hair, beard and glasses: what lies over and behind the bare face."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.talkers.geometry import half_width
from latentsync.data.talkers.identity import Identity
from latentsync.data.talkers.raster import Grid, lump, smooth_noise, smoothstep, to_linear
from latentsync.data.talkers.shading import Light, shade

# per style: swelling at the top, at the sides; where the side hair ends (height); how ragged the edge is; strand curl
_STYLES = {
    "bald": (0.0, 0.0, -9.0, 0.0, 0.0),
    "buzz": (0.03, 0.02, -0.05, 0.04, 0.2),
    "short": (0.14, 0.07, 0.10, 0.10, 0.35),
    "swept": (0.26, 0.10, 0.15, 0.12, 0.5),
    "curly": (0.34, 0.26, 0.30, 0.30, 1.5),
    "bob": (0.17, 0.22, 1.25, 0.08, 0.3),
    "long": (0.15, 0.20, 2.15, 0.08, 0.35),
    "bun": (0.10, 0.05, 0.05, 0.06, 0.3),
}


def front_cover(identity: Identity, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """(H, W) in [0, 1]: where hair lies in front of the head."""
    top, sides, end, ragged, _ = _style(identity)
    if identity.hair_style == "bald":
        return np.zeros((grid.height, grid.width), np.float32)
    x, y = grid.axes()
    skull = _skull(identity, x, y, top, sides)
    noise = smooth_noise(rng, (grid.height, grid.width), 0.22 * grid.scale, 4)
    hairline = _hairline(identity, x)
    fade = 0.06 if identity.hair_style == "buzz" else 0.025
    above = smoothstep(hairline + fade + 0.05 * ragged * noise, hairline - fade + 0.05 * ragged * noise, y)
    side_edge = half_width(identity.shape, np.clip(y, -0.3, 0.8)) * 0.94
    beside = smoothstep(side_edge - 0.02, side_edge + 0.05, np.abs(x) - 0.012 * noise) * smoothstep(
        end + 0.12, end - 0.06, y
    )
    cover = np.maximum(above, beside * smoothstep(-1.0, -0.8, y))
    inside = smoothstep(0.06 + 0.5 * ragged, -0.02, skull + 0.105 * ragged * noise)
    if identity.hair_style == "bun":
        inside = np.maximum(
            inside, smoothstep(1.0, 0.9, np.hypot(x / 0.42, (y - identity.shape.crown_y + 0.12) / 0.34))
        )
    return (cover * inside).astype(np.float32)


def back_cover(identity: Identity, grid: Grid, rng: np.random.Generator) -> np.ndarray | None:
    """(H, W) in [0, 1]: hair that hangs behind the neck; None for styles without."""
    top, sides, end, ragged, _ = _style(identity)
    if end < 0.5:
        return None
    x, y = grid.axes()
    noise = smooth_noise(rng, (grid.height, grid.width), 0.3 * grid.scale, 3)
    width = identity.shape.cheek + sides + 0.10 * smoothstep(0, 1.5, y) - 0.05 + 0.03 * noise
    inside = smoothstep(width + 0.03, width - 0.03, np.abs(x))
    inside = inside * smoothstep(end + 0.10, end - 0.05, y + 0.06 * noise) * smoothstep(-0.5, -0.2, y)
    return inside.astype(np.float32)


def strands(identity: Identity, grid: Grid, light: Light, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) linear light of hair, defined everywhere, running out from the crown."""
    curl = _style(identity)[4]
    x, y = grid.axes()
    x0, y0 = 0.35 * identity.parting, identity.shape.crown_y + 0.06
    wave = smooth_noise(rng, (grid.height, grid.width), 0.35 * grid.scale, 2) * 0.05 * curl
    fall = np.minimum(y, -0.3)  # below the temples hair hangs straight down
    angle = np.arctan2(np.broadcast_to(x - x0, wave.shape), np.broadcast_to(fall - y0, wave.shape) + 1e-3) + wave
    radius = np.hypot(x - x0, (y - y0) * 0.8)
    pattern = rng.standard_normal((24, 720)).astype(np.float32)
    pattern = cv2.GaussianBlur(pattern, (0, 0), sigmaX=1.0, sigmaY=0.6, borderType=cv2.BORDER_REFLECT) * 2.2
    along = (radius * 6).astype(np.float32)
    around = ((angle / (2 * np.pi) + 0.5) * 719).astype(np.float32)
    fibres = cv2.remap(pattern, around, along, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    if identity.hair_style in ("curly", "buzz"):
        cell = (0.09 if identity.hair_style == "curly" else 0.025) * grid.scale
        fibres = 0.3 * fibres + 1.0 * smooth_noise(rng, fibres.shape, cell, 2)
    ball = np.sqrt(np.clip(1 - (x / 1.7) ** 2 - ((y + 0.35) / 2.2) ** 2, 0.02, 1))
    height = (1.1 * ball + 0.012 * fibres).astype(np.float32)
    color = to_linear(identity.hair)
    albedo = np.clip(1 + 0.33 * fibres, 0.25, 2.2)[..., None] * color
    sheen = np.exp(-(((radius - 0.62) / 0.16) ** 2)) * np.clip(0.6 + 0.4 * fibres, 0, 2)
    gloss = 0.25 + 0.9 * sheen * (0.3 if identity.hair_style in ("curly", "buzz") else 1.0)
    lit = shade(
        albedo.astype(np.float32),
        height,
        light,
        grid.scale,
        (gloss * (0.15 + color.mean())).astype(np.float32),
        wrap=0.6,
    )
    return lit * 0.9


def bristles(identity: Identity, grid: Grid, light: Light, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) linear light of a short beard, defined everywhere."""
    noise = rng.standard_normal((grid.height, grid.width)).astype(np.float32)
    across, along = max(0.5, 0.008 * grid.scale), max(0.8, 0.035 * grid.scale)
    fibres: np.ndarray = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along)
    fibres = fibres / max(float(fibres.std()), 1e-6)
    color = to_linear(identity.hair) * np.add(light.ambient, np.multiply(light.color, 0.55)).astype(np.float32)
    return np.clip(1 + 0.3 * fibres, 0.3, 2)[..., None] * color * 0.8


def beard_cover(identity: Identity, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """(H, W) in [0, 1]: density of the beard on the face and just below the chin."""
    shape = identity.shape
    x, y = grid.axes()
    x = np.abs(x)
    half = np.maximum(half_width(shape, y), 0.02)
    cheek_line = shape.mouth_y - 0.12 - 0.55 * smoothstep(0.5, 1.0, x / np.maximum(half, 0.3))
    jaw = smoothstep(cheek_line, cheek_line + 0.16, y) * smoothstep(
        0.30, 0.48, np.hypot(x * 0.75, (y - shape.mouth_y - 0.03))
    )
    low, high = shape.nose_y + 0.03, shape.mouth_y - 1.15 * shape.upper_lip
    droop = 0.30 * x * x
    moustache = smoothstep(1.15, 0.75, np.hypot(x / 0.44, (y - droop - (low + high) / 2) / ((high - low) * 0.62)))
    goatee = smoothstep(1.1, 0.8, np.hypot(x / 0.36, (y - shape.chin_y + 0.12) / 0.27))
    goatee = np.maximum(goatee, moustache * 0.9)
    stubble = np.maximum(jaw, moustache) * 0.32
    density = {
        "none": 0.0 * jaw,
        "stubble": stubble,
        "moustache": moustache,
        "goatee": goatee,
        "full": np.maximum(jaw, moustache),
    }
    grain = smooth_noise(rng, (grid.height, grid.width), 0.03 * grid.scale, 1)
    return np.clip(density[identity.beard] * (0.86 + 0.05 * grain), 0, 0.95).astype(np.float32)


def glasses_layer(identity: Identity, grid: Grid) -> tuple[np.ndarray, np.ndarray] | None:
    """Color (H, W, 3) in [0, 1] and cover (H, W) of the spectacles; None for people without."""
    if identity.glasses == "none":
        return None
    fine = grid.finer(2)
    x, y = fine.axes()
    power = {"round": 2.0, "square": 5.0, "half": 4.0}[identity.glasses]
    ring, lens = 0.0, 0.0
    for side in (-1, 1):
        distance = (np.abs((x - side * 0.51) / 0.40) ** power + np.abs((y - 0.06) / 0.31) ** power) ** (1 / power)
        band = smoothstep(0.90, 0.93, distance) * smoothstep(1.03, 1.0, distance)
        if identity.glasses == "half":
            band = band * smoothstep(0.10, 0.02, y)
        ring = np.maximum(ring, band)
        lens = np.maximum(
            lens,
            smoothstep(1.0, 0.95, distance)
            * smoothstep(0.06, 0.0, np.abs((x - side * 0.51) * 0.8 + y + 0.02) % 0.5 - 0.1),
        )
    bridge = smoothstep(0.030, 0.018, np.abs(y + 0.03 - 0.25 * x * x)) * smoothstep(0.14, 0.12, np.abs(x))
    arms = (
        smoothstep(0.030, 0.018, np.abs(y + 0.06))
        * smoothstep(0.88, 0.90, np.abs(x))
        * smoothstep(1.16, 1.12, np.abs(x))
    )
    solid = np.maximum(np.maximum(ring, bridge), arms)
    cover = np.maximum(solid, 0.10 * lens).astype(np.float32)
    color = np.where(solid[..., None] > 0.3, np.array(identity.frame, np.float32), np.float32(1.0)).astype(np.float32)
    size = (grid.width, grid.height)
    return cv2.resize(color, size, interpolation=cv2.INTER_AREA), cv2.resize(cover, size, interpolation=cv2.INTER_AREA)


def _style(identity: Identity) -> tuple[float, float, float, float, float]:
    top, sides, end, ragged, curl = _STYLES[identity.hair_style]
    return top * identity.hair_volume, sides * identity.hair_volume, end, ragged, curl


def _skull(identity: Identity, x: np.ndarray, y: np.ndarray, top: float, sides: float) -> np.ndarray:
    """About 0 on the outer edge of the hair, negative inside; face units near the edge."""
    shape = identity.shape
    middle = -0.35
    wide = shape.cheek + 0.05 + sides
    high = middle - shape.crown_y + top
    upper = (np.abs(x / wide) ** 2.2 + np.abs((y - middle) / high) ** 2.2) ** (1 / 2.2) - 1
    lower = np.abs(x) / (wide + 0.10 * smoothstep(0.2, 1.6, y)) - 1
    return np.where(y < middle, upper, lower)


def _hairline(identity: Identity, x: np.ndarray) -> np.ndarray:
    """Height of the hairline over the forehead at each x."""
    shape = identity.shape
    peak = shape.crown_y + 0.52 + 0.10 * identity.age
    across = np.abs(x) / shape.cheek
    line = peak + 0.10 * smoothstep(0.1, 0.5, across) * 0.5 + 0.85 * smoothstep(0.62, 1.02, across)
    if identity.hair_style == "swept":
        line = line + 0.16 * np.sin(np.clip((x - identity.parting * 0.5) * 2.2, -1.57, 1.57)) - 0.05
    if identity.hair_style in ("bob", "long") and abs(identity.parting) > 0.55:
        line = np.where(across < 0.92, np.maximum(line, shape.brow_y - 0.16), line)  # a fringe
    if identity.hair_style in ("bob", "long") and abs(identity.parting) <= 0.55:
        line = line - 0.10 + 0.55 * np.abs(x - identity.parting * 0.4) ** 1.5
    return line


def ear_layer(identity: Identity, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Height and cover (H, W) of both ears, to be lit like skin."""
    shape = identity.shape
    x, y = grid.axes()
    cover: np.ndarray | float = 0.0
    height: np.ndarray | float = 0.0
    for side in (-1, 1):
        px = side * x - shape.cheek - 0.03
        distance = np.hypot((px - 0.06 * (0.3 - y)) / 0.14, (y - 0.26) / 0.36)
        shell = smoothstep(1.03, 0.97, distance)
        cover = np.maximum(cover, shell)
        rim = np.exp(-(((distance - 0.80) / 0.13) ** 2)) * 0.05 - 0.07 * lump(px, y, (-0.01, 0.24), (0.045, 0.13))
        height = height + rim * shell
    return np.asarray(height).astype(np.float32), np.broadcast_to(cover, (grid.height, grid.width)).astype(np.float32)

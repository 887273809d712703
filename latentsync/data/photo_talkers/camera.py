"""Another light than the photograph's, and what a camera adds."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.data.photo_talkers.canonical import Face
from latentsync.data.photo_talkers.motion import HeadField
from latentsync.data.talkers.raster import smoothstep, to_bytes
from latentsync.data.talkers.shading import normals

_TILES = 5  # patterns of noise; every frame gets one of them, moved
_MARGIN = 32  # pixels by which they can be moved


@dataclass(frozen=True)
class Look:
    """Light and camera of one clip."""

    lamp: np.ndarray  # (3,) unit vector to a lamp: x right, y down, z to the camera
    strength: float  # of the lamp beside the light that the photograph has
    gain: tuple[float, float, float]  # of red, green and blue
    gamma: float
    black: float  # level of black, in [0, 1]
    saturation: float
    blur: float  # standard deviation, pixels of a frame of 256; about half of the clips have none
    noise: float  # standard deviation, grey levels


def make_look(rng: np.random.Generator) -> Look:
    """Of a clip: from as photographed to a warm or cool room, a lamp at one side, a cheap camera."""
    side = rng.uniform(-1, 1)
    lamp = np.array((np.sign(side) * (0.35 + 0.65 * abs(side)), rng.uniform(-0.7, 0.25), rng.uniform(0.3, 0.9)))
    warmth, green = rng.normal(0, 0.06), rng.normal(0, 0.015)
    gain = rng.uniform(0.80, 1.10)
    return Look(
        lamp=(lamp / np.linalg.norm(lamp)).astype(np.float32),
        strength=float(rng.beta(1.2, 2.2) * 0.7),
        gain=(float(gain * (1 + warmth)), float(gain * (1 + green)), float(gain * (1 - warmth))),
        gamma=float(np.exp(rng.normal(0, 0.14))),
        black=float(rng.uniform(0, 0.05)),
        saturation=float(rng.uniform(0.75, 1.15)),
        blur=float(max(rng.uniform(-0.8, 0.8), 0)),
        noise=float(rng.uniform(0.3, 3.0)),
    )


class Camera:
    """Applies a look: ``light`` to the texture, once, and ``record`` to every frame."""

    def __init__(self, look: Look, size: tuple[int, int], rng: np.random.Generator) -> None:
        self._look = look
        width, height = size
        levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
        toned = look.black + (1 - look.black) * levels**look.gamma * np.asarray(look.gain, np.float32)
        self._curve = to_bytes(toned)[None]
        grain = rng.normal(0, look.noise, (_TILES, height + _MARGIN, width + _MARGIN, 3)).astype(np.float32)
        grain = 0.75 * grain[..., :1] + 0.5 * grain  # most of a camera's noise is in the brightness
        self._grain = np.rint(grain).astype(np.int16)
        self._blur = look.blur * min(size) / 256

    def light(self, texture: np.ndarray, face: Face, field: HeadField) -> tuple[np.ndarray, float]:
        """The texture (H, W, 3) uint8 in another light, and what that does to the brightness of the mouth."""
        normal = normals(field.depth, field.grid.scale)
        lit = normal @ self._look.lamp - self._look.lamp[2]
        y = field.grid.axes()[1]
        skin = smoothstep(face.shape.chin_y + 1.2, face.shape.chin_y, y)
        factor = np.clip(1 + self._look.strength * lit * skin, 0.45, 1.6).astype(np.float32)
        x, mouth_y = (round(float(v)) for v in field.grid.pixels(np.array((face.middle, face.shape.mouth_y))))
        size = (face.grid.width, face.grid.height)
        fine = cv2.resize(factor, size, interpolation=cv2.INTER_CUBIC)[..., None]
        pixels = texture.astype(np.float32)
        grey = pixels.mean(axis=-1, keepdims=True)
        pixels = (grey + (pixels - grey) * np.float32(self._look.saturation)) * fine
        return np.clip(pixels + 0.5, 0, 255).astype(np.uint8), float(factor[mouth_y, x])

    def record(self, frame: np.ndarray, number: int) -> np.ndarray:
        """Frame ``number`` as the camera gives it, (H, W, 3) uint8."""
        if self._blur > 0.2:
            frame = cv2.GaussianBlur(frame, (0, 0), self._blur)
        frame = cv2.LUT(frame, self._curve)
        height, width = frame.shape[:2]
        dx, dy = (number * 17) % _MARGIN, (number * 7) % _MARGIN
        grain = self._grain[number % _TILES, dy : dy + height, dx : dx + width]
        return cv2.add(frame, grain, dtype=cv2.CV_8U)

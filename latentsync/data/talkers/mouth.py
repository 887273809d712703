"""The mouth, painted anew in every frame: cavity, teeth, tongue and lips."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.talkers.geometry import Articulation, lip_curves
from latentsync.data.talkers.identity import Identity
from latentsync.data.talkers.raster import Grid, fill, to_bytes, to_display, to_linear
from latentsync.data.talkers.shading import Light

_SUPERSAMPLING = 3
_SAMPLES = np.linspace(-1, 1, 33)
_BANDS = 9  # stripes of even color from the outer to the inner edge of a lip
_TOOTH_WIDTHS = (0.135, 0.105, 0.115, 0.10)  # from the middle outwards, face units


class MouthPainter:
    """Paints the mouth of one person into that person's face texture."""

    def __init__(self, identity: Identity, grid: Grid, light: Light) -> None:
        self.shape = identity.shape
        top, bottom = self.shape.mouth_y - 0.34, self.shape.mouth_y + self.shape.max_opening + 0.36
        self.rows, self.columns, patch = grid.part(-0.66, top, 0.66, bottom)
        self.fine = patch.finer(_SUPERSAMPLING)
        self.edge = max(0.35, 0.014 * grid.scale)  # softness of the border of the lips, pixels
        lips = to_linear(identity.lips)
        glow = np.asarray(light.ambient, np.float32) + np.asarray(light.color, np.float32) * 0.66
        across = np.linspace(0, 1, _BANDS)
        upper = 0.90 - 0.18 * across + 0.10 * np.exp(-((across - 0.12) ** 2) / 0.01)
        lower = 0.70 + 0.42 * np.exp(-((across - 0.52) ** 2) / 0.05) - 0.15 * (across > 0.93)
        self.upper_tones = [_bytes(lips * glow * v + 0.02 * v) for v in upper]
        self.lower_tones = [_bytes(lips * glow * v + 0.035 * max(v - 0.8, 0)) for v in lower]
        whiteness = 0.75 + 0.25 * (1 - identity.age)
        self.tooth = _bytes(to_linear((0.93, 0.90, 0.84)) * glow * 0.82 * whiteness)
        self.tooth_edge = _bytes(to_linear((0.80, 0.75, 0.68)) * glow * 0.50)
        self.tongue_tone = _bytes(to_linear((0.72, 0.34, 0.34)) * glow * 0.55)
        self.tongue_light = _bytes(to_linear((0.82, 0.45, 0.44)) * glow * 0.68)
        self.cavity = _bytes(to_linear((0.30, 0.09, 0.08)) * glow * 0.35)
        self.depth = _bytes(to_linear((0.16, 0.05, 0.05)) * glow * 0.12)
        self.seam = _bytes(lips * glow * 0.12)
        self.gloss = 0.25 + 0.5 * identity.gloss
        self.glint_x = 0.22 * float(np.sign(light.direction[0]))

    def paint(self, texture: np.ndarray, mouth: Articulation) -> None:
        """Draw the mouth over ``texture`` (H, W, 3) uint8, whose skin has already been moved, in place."""
        upper_outer, upper_inner, lower_inner, lower_outer = (
            self.fine.pixels(c) for c in lip_curves(self.shape, mouth, _SAMPLES)
        )
        skin = texture[self.rows, self.columns]
        canvas = np.zeros((self.fine.height, self.fine.width, 3), np.uint8)
        canvas[:] = self.upper_tones[0]
        if mouth.opening > 0.004:
            self._inside(canvas, mouth, np.concatenate([upper_inner, lower_inner[::-1]]))
        self._lip(canvas, upper_outer, upper_inner, self.upper_tones)
        self._lip(canvas, lower_outer, lower_inner, self.lower_tones)
        self._line_between(canvas, mouth, upper_inner, lower_inner)
        self._glint(canvas, lower_inner, lower_outer)
        size = (skin.shape[1], skin.shape[0])
        cover = np.zeros(canvas.shape[:2], np.uint8)
        fill(cover, np.concatenate([upper_outer, lower_outer[::-1]]), 255)
        cover = cv2.GaussianBlur(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), (0, 0), self.edge)
        weight = cover.astype(np.float32) * np.float32(1 / 255)
        painted = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
        texture[self.rows, self.columns] = cv2.blendLinear(painted, np.ascontiguousarray(skin), weight, 1 - weight)

    def _inside(self, canvas: np.ndarray, mouth: Articulation, hole: np.ndarray) -> None:
        """Cavity, teeth and tongue, cut to the opening ``hole``."""
        unit = self.fine.scale
        inside = np.empty_like(canvas)
        inside[:] = self.cavity
        opening = float(mouth.opening) * self.shape.max_opening
        middle = self._pixel(0, self.shape.mouth_y + 0.30 * opening)
        axes = (round(0.22 * unit * 16), round(0.42 * max(opening, 0.02) * unit * 16))
        cv2.ellipse(inside, middle, axes, 0, 0, 360, self.depth, -1, cv2.LINE_8, 4)
        inside = cv2.blur(inside, (max(1, round(0.06 * unit)), max(1, round(0.06 * unit))))
        self._tongue(inside, mouth, opening)
        squeeze = 1 - 0.35 * float(mouth.rounding)
        light = 1 - 0.75 * float(mouth.rounding)  # lips pushed out keep the light from the teeth
        mouth_y = self.shape.mouth_y
        self._teeth(inside, mouth_y + 0.82 * opening + 0.03, 0.12, 0.86 * squeeze, 0.85 * light, up=False)
        self._teeth(inside, mouth_y + 0.060 - 0.05 * opening - 0.03 * float(mouth.tuck), 0.15, squeeze, light, up=True)
        cover = np.zeros(canvas.shape[:2], np.uint8)
        fill(cover, hole, 255)
        soft = max(1, round(0.10 * unit))
        shadow = np.roll(cv2.blur(cover, (soft, soft)), round(0.022 * unit), axis=0)
        dark = cv2.convertScaleAbs(shadow, alpha=0.5, beta=128)
        inside = cv2.multiply(inside, cv2.merge([dark] * 3), scale=1 / 255)
        cv2.copyTo(inside, cover, canvas)

    def _teeth(self, inside: np.ndarray, edge: float, length: float, squeeze: float, light: float, *, up: bool) -> None:
        """A row of teeth whose biting edge lies at height ``edge``; upper teeth grow upwards from it."""
        for side in (-1, 1):
            start = 0.004
            for place, width in enumerate(_TOOTH_WIDTHS):
                width = width * squeeze * (1 if up else 0.72)
                x0, x1 = side * start, side * (start + width - 0.008)
                rise = 0.010 * place**1.5
                tip = edge - rise if up else edge + rise
                root = tip - length if up else tip + length
                bevel = 0.018 if up else -0.012
                corners = np.array([(x0, root), (x0, tip - bevel), (x0 * 0.8 + x1 * 0.2, tip),
                                    (x0 * 0.2 + x1 * 0.8, tip), (x1, tip - bevel), (x1, root)])  # fmt: skip
                fade = 0.16 * place
                tone = tuple(light * (a + (b - a) * fade) for a, b in zip(self.tooth, self.tooth_edge, strict=True))
                fill(inside, self.fine.pixels(corners), tone)
                start += width

    def _tongue(self, inside: np.ndarray, mouth: Articulation, opening: float) -> None:
        unit = self.fine.scale
        lift = float(mouth.tongue)
        y = self.shape.mouth_y + (0.84 - 0.58 * lift) * opening + 0.03
        wide = 0.27 * (1 - 0.3 * float(mouth.rounding))
        high = 0.10 + 0.16 * opening
        for tone, size, offset in ((self.tongue_tone, 1.0, 0.0), (self.tongue_light, 0.72, -0.02)):
            axes = (round(wide * size * unit * 16), round(high * size * unit * 16))
            cv2.ellipse(inside, self._pixel(0, y + high * 0.5 + offset), axes, 0, 0, 360, tone, -1, cv2.LINE_AA, 4)

    def _lip(self, canvas: np.ndarray, outer: np.ndarray, inner: np.ndarray, tones: list[tuple]) -> None:
        for band, tone in enumerate(tones):
            share = band / len(tones)
            fill(canvas, np.concatenate([outer + (inner - outer) * share, inner[::-1]]), tone, smooth=False)

    def _line_between(self, canvas: np.ndarray, mouth: Articulation, upper: np.ndarray, lower: np.ndarray) -> None:
        """The seam of closed lips, and the shade under the edge of the upper one when they part."""
        half = 0.007 * self.fine.scale
        taper = (1 - 0.5 * np.abs(_SAMPLES))[:, None] * (0, half)
        shut = mouth.opening < 0.03
        fill(
            canvas, np.concatenate([upper - taper, (lower if shut else upper)[::-1]]), self.seam if shut else self.depth
        )

    def _glint(self, canvas: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> None:
        middle = inner * 0.55 + outer * 0.45
        size = len(middle)
        centre = int(size * (0.5 + self.glint_x / 2))
        span = middle[max(0, centre - 4) : centre + 5]
        wide = np.abs(outer - inner)[:, 1].max() * 0.11
        taper = np.sin(np.linspace(0, np.pi, len(span)))[:, None] * (0, wide)
        spot: np.ndarray = np.zeros(canvas.shape[:2], np.uint8)
        fill(spot, np.concatenate([span - taper, (span + taper)[::-1]]), 70 * self.gloss)
        spot = cv2.blur(spot, (5, 3))
        cv2.add(canvas, cv2.merge([spot] * 3), dst=canvas)

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        px, py = self.fine.pixels(np.array([x, y]))
        return round(float(px) * 16), round(float(py) * 16)


def _bytes(light: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = to_bytes(to_display(light))
    return int(red), int(green), int(blue)

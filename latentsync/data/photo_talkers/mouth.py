"""The mouth of a photograph that speaks: its lips moved and shaded, and between them the inside, painted in the light
of the photograph: cavity, tongue, both rows of teeth."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.photo_talkers.canonical import Face, chin_sink
from latentsync.data.photo_talkers.lower_face import LowerFace, MouthEdges
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.raster import blur, smoothstep, to_display, to_linear

_BLUR = 0.012  # of what is painted, face units
_SEAM = 0.011  # half width of the line between closed lips, face units
_PAINTED = 0.002  # a gap below this is closed
_UPPER_TEETH = np.cumsum(
    (0.132, 0.098, 0.085, 0.06)
)  # right edges of the teeth of one side as they are seen, face units
_LOWER_TEETH = np.cumsum((0.080, 0.083, 0.080, 0.065))
_LONG = 0.16  # a tooth from its edge to the gum
_SOFT = 0.014  # width of the edges of teeth and lips
_MOUTH_FLOOR = (0.30, 0.10, 0.09)
_GUM = (0.62, 0.33, 0.32)
_TONGUE = (0.70, 0.36, 0.35)


class SpeakingFace:
    """One face; ``texture`` (H, W, 3) uint8 on the face's canvas may be ``face.texture`` in another light: at
    the mouth ``light`` times as bright."""

    def __init__(self, face: Face, rng: np.random.Generator, light: float = 1.0) -> None:
        self.lower = LowerFace(face)
        self._inside = MouthInside(face, rng, light)
        self._seam = (
            rng.uniform(0.38, 0.58) if face.gap > 0.02 else 0.25
        )  # a photograph of closed lips has a line of its own

    def draw(self, texture: np.ndarray, mouth: Articulation) -> np.ndarray:
        """The texture with the mouth of one moment (scalars), a new array."""
        part, lips = self.lower, self.lower.edges(mouth)
        moved = cv2.remap(texture, *part.maps(mouth, lips), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        result = texture.copy()
        result[part.rows, part.columns] = moved
        self._paint(result[part.rows, part.columns], mouth, lips)
        return result

    def _paint(self, patch: np.ndarray, mouth: Articulation, lips: MouthEdges) -> None:
        """Draw inside and shade of the lips into the moved skin, in place."""
        grid = self.lower.patch
        inner = np.abs(lips.s) < 1
        columns = slice(int(np.argmax(inner)), len(inner) - int(np.argmax(inner[::-1])))
        top, bottom = lips.edges[0].min() - 0.03, lips.edges[3].max() + 0.03
        rows = slice(*(int((v - grid.top) * grid.scale) for v in (top, bottom)))
        x = grid.axes()[0][0][columns]
        y = grid.axes()[1][rows, 0]
        near = MouthEdges(lips.edges[:, columns], lips.s[columns], lips.inner_s[columns])
        skin = patch[rows, columns, :3].astype(np.float32) * self._lip_shade(near, y)[..., None]
        if near.gap.max() > _PAINTED:
            inside = blur(self._inside.paint(mouth, near, x, y), _BLUR * grid.scale)
            cover = blur(_between(near, y, grid.scale), 0.007 * grid.scale)[..., None]
            skin += (inside - skin) * cover
        patch[rows, columns, :3] = np.clip(skin + 0.5, 0, 255).astype(np.uint8)

    def _lip_shade(self, lips: MouthEdges, y: np.ndarray) -> np.ndarray:
        """(H, W): the line between closed lips, the dark of their inner edges."""
        rows = y[:, None]
        upper, lower = lips.edges[1].astype(np.float32), lips.edges[2].astype(np.float32)
        taper = 1 - np.abs(lips.s.astype(np.float32)) ** 4
        closed = smoothstep(0.05, 0.0, lips.gap.astype(np.float32))
        line = np.exp(-(((rows - (upper + lower) / 2) / np.float32(_SEAM)) ** 2)) * closed * self._seam
        thick = np.maximum(upper - lips.edges[0].astype(np.float32), 0.02)
        roll = np.exp(-np.clip(upper - rows, 0, None) / (0.35 * thick)) * (rows < upper + 0.01)
        edge = np.exp(-np.clip(rows - lower, 0, None) / np.float32(0.012)) * (rows > lower - 0.01)
        return 1 - np.clip(line + (1 - 0.75 * closed) * (0.22 * roll + 0.16 * edge), 0, 0.9) * taper


def _between(lips: MouthEdges, y: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) float32: 1 between the inner lips, with edges of a pixel."""
    rows = y[:, None]
    upper, lower = lips.edges[1].astype(np.float32), lips.edges[2].astype(np.float32)
    below = np.clip((rows - upper) * scale + 0.5, 0, 1)
    return np.minimum(below, np.clip((lower - rows) * scale + 0.5, 0, 1)) * (lower > upper + 1e-4)


class MouthInside:
    """Paints the inside of one mouth."""

    def __init__(self, face: Face, rng: np.random.Generator, light: float = 1.0) -> None:
        self._face = face
        tooth = to_linear(face.tooth) * np.float32(light**2.2)
        glow = float(tooth.mean() / to_linear((0.84, 0.80, 0.74)).mean())
        tint = to_linear(face.light)
        tint = np.sqrt(tint / tint.mean()) * glow
        self._tooth = tooth
        self._floor, self._gum, self._tongue = (to_linear(c) * tint for c in (_MOUTH_FLOOR, _GUM, _TONGUE))
        self._edge = float(rng.uniform(0.030, 0.058))  # of the upper teeth below the line where the lips meet
        self._curve = float(rng.uniform(0.10, 0.22))  # how the row rises to the sides
        self._low = float(rng.uniform(0.030, 0.062))  # of the lower teeth, likewise
        self._gaps = float(rng.uniform(0.25, 0.60))  # how dark it is between two teeth
        self._uneven = rng.normal(0, 0.004, 8)
        self._shades = rng.uniform(0.92, 1.0, 8)

    def paint(self, mouth: Articulation, lips: MouthEdges, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 display RGB in [0, 255] at columns ``x`` (W,) and rows ``y`` (H,)."""
        shape = self._face.shape
        across = ((x - self._face.middle) / np.where(x < self._face.middle, *self._face.halves)).astype(np.float32)
        rows = y[:, None].astype(np.float32)
        sink = float(chin_sink(shape, mouth.opening))
        opening = float(mouth.opening) * shape.max_opening
        line = shape.mouth_y + self._face.slant * lips.s.astype(np.float32)
        depth = np.clip(np.abs(across) / 0.40, 0, 1) ** 2
        light = np.broadcast_to(self._floor, (len(y), len(x), 3)) * (0.25 + 0.55 * depth)[None, :, None]
        light = self._draw_tongue(light, float(mouth.tongue), across, rows - line, sink, opening)
        lower = line + self._low + sink + 0.12 * across**2 + 0.03 * float(mouth.tuck)
        light = self._draw_teeth(light, _LOWER_TEETH, across, rows - lower, 0.62)
        upper = line + self._edge - self._curve * across**2 - 0.02 * float(mouth.tuck)
        light = self._draw_teeth(light, _UPPER_TEETH, across, upper - rows, 1.0)
        return to_display(light * self._shadow(mouth, lips, rows)[..., None]) * np.float32(255)

    def _draw_teeth(
        self, light: np.ndarray, borders: np.ndarray, across: np.ndarray, inward: np.ndarray, level: float
    ) -> np.ndarray:
        """A row of teeth over ``light``; ``inward`` (H, W) is the distance from its edge towards the gum."""
        aside = np.abs(across)
        number = np.minimum(np.searchsorted(borders, aside), len(borders) - 1)
        ends = np.concatenate([[0], borders])
        middle, half = (ends[number] + ends[number + 1]) / 2, (ends[number + 1] - ends[number]) / 2
        place = np.clip(np.abs(aside - middle) / half, 0, 1).astype(np.float32)
        index = number * 2 + (across > 0)
        inward = inward - (0.016 * place**4 + self._uneven[index]).astype(np.float32)
        round_arch = np.clip(1 - (aside / (borders[-1] + 0.10)) ** 2, 0, 1)
        body = 0.88 + 0.20 * np.clip(inward / 0.06, 0, 1) - 0.18 * np.clip(inward / _LONG, 0, 1) ** 2
        crack = 1 - self._gaps * np.exp(-(((1 - place) * half / 0.009) ** 2))
        tone = (level * round_arch * crack * self._shades[index]).astype(np.float32) * body
        gum = smoothstep(_LONG - 0.02, _LONG + 0.01, inward + 0.03 * (1 - place**2))[..., None]
        color = tone[..., None] * self._tooth * (1 - gum) + gum * self._gum * (level * 0.8 * round_arch)[None, :, None]
        cover = np.clip(inward / _SOFT + 0.5, 0, 1) * smoothstep(borders[-1] + 0.07, borders[-1], aside)
        return light + (color - light) * cover[..., None]

    def _draw_tongue(
        self, light: np.ndarray, lift: float, across: np.ndarray, below: np.ndarray, sink: float, opening: float
    ) -> np.ndarray:
        """``below`` (H, W): heights under the line of the closed lips."""
        tip = 0.05 + 0.52 * sink * (1 - lift) + 0.02 * lift
        inside = below - (tip + 0.9 * across**2)
        form = 0.35 + 0.65 * smoothstep(0.0, 0.13, inside)
        furrow = 1 - 0.22 * np.exp(-((across / 0.035) ** 2))
        color = (form * furrow * (0.55 + 0.35 * lift))[..., None] * self._tongue
        cover = smoothstep(-0.02, 0.03, inside) * smoothstep(0.36, 0.28, np.abs(across))
        return light + (color - light) * cover[..., None]

    def _shadow(self, mouth: Articulation, lips: MouthEdges, rows: np.ndarray) -> np.ndarray:
        """(H, W) share of the light that the lips let in."""
        gap = lips.gap.astype(np.float32)
        under = np.clip(rows - lips.edges[1].astype(np.float32), 0, None)
        over = np.clip(lips.edges[2].astype(np.float32) - rows, 0, None)
        depth = np.float32(0.045)
        lip = 1 - 0.50 * np.exp(-under / depth) - 0.22 * np.exp(-over / (0.6 * depth))
        corners = 1 - 0.65 * np.abs(lips.inner_s.astype(np.float32)) ** 4
        let_in = 0.62 + 0.38 * np.clip(gap / 0.12, 0, 1) - 0.25 * float(mouth.rounding)
        return np.clip(lip * corners * let_in, 0.03, 1)

"""The photograph with its mouth and lids moved: everything that happens in the face before the head is turned."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.photo_talkers.canonical import Face
from latentsync.data.photo_talkers.inside import MouthInside
from latentsync.data.photo_talkers.lower_face import LowerFace, MouthEdges
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.raster import blur, smoothstep

_BLUR = 0.012  # of what is painted, face units
_SEAM = 0.011  # half width of the line between closed lips, face units
_PAINTED = 0.002  # a gap below this is closed


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

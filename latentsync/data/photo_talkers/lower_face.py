"""Where every pixel of a speaking lower face comes from in the photograph.

The warp is defined backwards, column by column of the moved face: sideways by the width of the mouth, then downwards
through a row of heights (below the nose, four edges of the lips, jaw, neck) that are known in both faces and joined by
straight lines. What lies between the inner lips comes from nowhere: ``mouth`` paints it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.data.photo_talkers.canonical import Face, chin_sink
from latentsync.data.talkers.geometry import Articulation, lip_curves, lip_thickness, mouth_half_width
from latentsync.data.talkers.raster import smoothstep

REACH = 0.45  # below the jaw, over which the neck takes up its movement
HALF_WIDTH = 1.02  # of the part that speech moves, on both sides of the middle of the mouth
_HINGE = 0.35  # height about which the jaw turns
_CHEEK = 0.5  # beside a corner, over which its movement fades
_ABOVE, _HIGHER = 0.03, 0.24  # the moved part begins so far below the nose's base, and beside the nose so far above it
_PUSHED = 0.30  # how much fuller lips look that are pushed out
_ROWS = 7  # heights that are known of each column


@dataclass(frozen=True)
class MouthEdges:
    """Heights of the edges of the lips over the columns of the patch, (4, W): upper outer to lower outer."""

    edges: np.ndarray
    s: np.ndarray  # (W,) place along the mouth, -1 at the left corner to 1
    inner_s: np.ndarray  # (W,) the same of the inner lips

    @property
    def gap(self) -> np.ndarray:
        """(W,) between the inner lips."""
        return self.edges[2] - self.edges[1]


class LowerFace:
    """The warp of one face."""

    def __init__(self, face: Face) -> None:
        shape = face.shape
        self.face = face
        bottom = shape.chin_y + float(chin_sink(shape, 1.0)) + REACH
        self.rows, self.columns, self.patch = face.grid.part(
            face.middle - HALF_WIDTH, shape.nose_y - _HIGHER, face.middle + HALF_WIDTH, bottom
        )
        x, y = self.patch.axes()
        self.x, self._y = x[0].astype(np.float64), y[:, 0]
        aside = np.abs(self.x - face.middle)
        self._top = shape.nose_y + _ABOVE - (_ABOVE + _HIGHER) * smoothstep(0.20, 0.55, aside)
        window = smoothstep(HALF_WIDTH - 0.02, 0.72, aside)
        self._jaw = _jaw_line(face, self.x)
        self.sinks = np.clip((self._jaw - _HINGE) / (shape.chin_y - _HINGE), 0, 1) * window
        self._window = window

    def edges(self, mouth: Articulation) -> MouthEdges:
        """The lips of the moved face; ``mouth`` of scalars."""
        return edges_at(self.face, mouth, self.x)

    def maps(self, mouth: Articulation, lips: MouthEdges) -> tuple[np.ndarray, np.ndarray]:
        """x and y on the face's canvas, each (H, W) float32, from which the pixels of the patch come."""
        face, shape, grid = self.face, self.face.shape, self.face.grid
        column, fade = self._source_columns(mouth, lips)
        seen = np.stack([np.interp(column, face.lips.x, edge) for edge in face.lips.edges])
        corner_shift = seen - lips.edges
        from_edges = lips.edges + corner_shift * fade
        sink = float(chin_sink(shape, mouth.opening)) * self.sinks
        jaw = np.maximum(self._jaw, lips.edges[3] + 0.10)
        target = np.stack([self._top, *lips.edges, jaw + sink, jaw + REACH])
        source = np.stack([self._top, *from_edges, jaw, jaw + REACH])
        vertical = _piecewise(self._y, *(np.maximum.accumulate(rows, axis=0) for rows in (target, source)))
        aside = ((column - self.x) * self._window).astype(np.float32)
        upper, lower = lips.edges[0].astype(np.float32), lips.edges[3].astype(np.float32)
        y = self._y[:, None]
        above = 1 - 0.85 * smoothstep(upper, np.float32(shape.nose_y - 0.1), y)
        below = smoothstep((0.35 * lower + 0.65 * self._jaw).astype(np.float32), lower, y)
        across = self.x[None, :].astype(np.float32) + aside * np.minimum(above, below)
        return (
            ((across - np.float32(grid.left)) * np.float32(grid.scale)).astype(np.float32),
            ((vertical - np.float32(grid.top)) * np.float32(grid.scale)).astype(np.float32),
        )

    def _source_columns(self, mouth: Articulation, lips: MouthEdges) -> tuple[np.ndarray, np.ndarray]:
        """x in the photograph of each column at the height of the lips, and the share (W,) of the corners' movement."""
        face = self.face
        widths = half_widths(face, mouth)
        ends = face.middle - widths[0], face.middle + widths[1]
        left, right = face.middle - face.lips.x[0], face.lips.x[-1] - face.middle
        inside = face.middle + np.where(lips.s < 0, lips.s * left, lips.s * right)
        beyond = np.maximum(ends[0] - self.x, self.x - ends[1])
        fade = smoothstep(_CHEEK, 0.0, np.maximum(beyond, 0))
        shift = np.where(self.x < face.middle, face.lips.x[0] - ends[0], face.lips.x[-1] - ends[1])
        return np.where(beyond <= 0, inside, self.x + shift * fade), fade


def edges_at(face: Face, mouth: Articulation, x: np.ndarray) -> MouthEdges:
    """The lips of the moved face over columns ``x`` (W,)."""
    shape = face.shape
    aside = x - face.middle
    s = np.clip(aside / np.where(aside < 0, *half_widths(face, mouth)), -1, 1)
    inner_s = np.clip(s / (0.90 - 0.08 * float(mouth.rounding)), -1, 1)
    curves = lip_curves(shape, mouth, inner_s)
    slant = face.slant * s
    upper, lower = curves[1][:, 1] + slant, curves[2][:, 1] + slant
    outline = _outline(face, s)
    most = np.array(lip_thickness(shape, mouth)) * (1 + _PUSHED * mouth.rounding)
    edges = np.stack([upper - outline[0] * most[0], upper, lower, lower + outline[1] * most[1]])
    return MouthEdges(edges, s, inner_s)


def _outline(face: Face, s: np.ndarray) -> np.ndarray:
    """(2, W) thickness of the upper and lower lip in the photograph, 1 where they are fullest."""
    seen = np.stack([face.lips.edges[1] - face.lips.edges[0], face.lips.edges[3] - face.lips.edges[2]])
    left, right = face.middle - face.lips.x[0], face.lips.x[-1] - face.middle
    x = face.middle + np.where(s < 0, s * left, s * right)
    return np.stack([np.interp(x, face.lips.x, line / line.max()) for line in seen])


def half_widths(face: Face, mouth: Articulation) -> tuple[float, float]:
    """From the middle of the moved mouth to its left and to its right corner."""
    half = float(mouth_half_width(face.shape, mouth))
    return half * face.halves[0], half * face.halves[1]


def _jaw_line(face: Face, x: np.ndarray) -> np.ndarray:
    """(W,) height of the lower outline of the face over columns ``x``."""
    oval = face.marks.oval
    low = oval[oval[:, 1] > 0.2]
    low = low[np.argsort(low[:, 0])]
    return np.interp(x, low[:, 0], low[:, 1], left=0.2, right=0.2)


def _piecewise(y: np.ndarray, target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """(H, W) float32: heights ``y`` (H,) through the columns' maps from ``target`` to ``source``, each (_ROWS, W)."""
    length = np.maximum(np.diff(target, axis=0), 1e-3).astype(np.float32)  # what is closed in the target is passed over
    change, target, source = (
        np.diff(source, axis=0).astype(np.float32),
        *(v.astype(np.float32) for v in (target, source)),
    )
    rows = y[:, None].astype(np.float32)
    total = source[0] + np.minimum(rows - target[0], 0) + np.maximum(rows - target[-1], 0)
    for k in range(_ROWS - 1):
        total += change[k] * np.clip((rows - target[k]) / length[k], 0, 1)
    return total

"""A photograph brought upright into face units, with its mouth closed on paper: measures of the face, and a texture
whose teeth are gone.

Every photograph gets the same part of the plane, as fine as its frames ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from latentsync.data.photo_talkers.portrait import FaceMarks, Portrait
from latentsync.data.talkers.geometry import CHIN_PER_OPENING
from latentsync.data.talkers.identity import FaceShape, make_identity
from latentsync.data.talkers.raster import Grid, Number

FINEST = 110.0  # pixels of the canvas per face unit, at most: twice as fine as portraits usually are
_AREA = (-2.6, -2.3, 2.6, 3.2)  # left, top, right, bottom of the canvas, face units

_REST_HALF = 0.405  # half width of an ordinary mouth at rest
_SMILE_KEPT = 0.35  # share of a smile's widening and lift that the mouth at rest keeps: cheeks and folds keep theirs
_CLOSING = 0.55  # where the lips of a mouth that shows its teeth meet: so far from the upper to the lower lip
_FRINGE = 0.018  # round open lips, within which the photograph shows teeth or their shadow
_CORNER = 0.02  # thickness of the line that goes on from them to the corners
_OPEN = 0.02  # inner lips farther apart than this show teeth
_THICKNESS = (0.055, 0.17), (0.075, 0.20)  # of the upper and the lower lip at rest
_WIDEST = 0.36  # distance of the inner lips at the widest opening, for a chin of ordinary length


@dataclass(frozen=True)
class Lips:
    """The lips of the photograph as functions of the height over the frame, at ``s`` from -1 (left corner) to 1."""

    x: np.ndarray  # (K,)
    edges: np.ndarray  # (4, K) heights: upper outer, upper inner, lower inner, lower outer


@dataclass(frozen=True)
class Face:
    """What the animation needs of a photograph; lengths in face units."""

    content: str
    grid: Grid
    texture: np.ndarray  # (H, W, 3) uint8 on ``grid``, the inside of the mouth covered with lip
    marks: FaceMarks
    shape: FaceShape  # at rest, mouth closed
    lips: Lips
    middle: float  # x of the middle of the mouth
    halves: tuple[float, float]  # width of its left and right half over ``shape.mouth_half``: not 1 where it is turned
    slant: float  # the right corner below the left one
    tooth: tuple[float, float, float]  # color of the teeth, display RGB in [0, 1]
    light: tuple[float, float, float]  # of the skin round the mouth, likewise
    gap: float  # of the inner lips in the photograph


def canonical_face(portrait: Portrait, scale: float = FINEST) -> Face:
    """Measure a photograph and bring it upright, with ``scale`` pixels per face unit."""
    grid = Grid.covering(*_AREA, scale)
    matrix = _to_units(portrait.marks.irises)
    marks = portrait.marks.moved(matrix)
    to_canvas = matrix.copy()
    to_canvas[:, 2] -= grid.left, grid.top
    to_canvas *= grid.scale
    size = (grid.width, grid.height)
    texture = cv2.warpAffine(portrait.pixels, to_canvas, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lips = _lips(marks)
    gap = float((lips.edges[2] - lips.edges[1]).max())
    inside = _inside(marks, grid)
    tooth, light = _tooth_color(texture, inside, gap), skin_color(texture, marks, grid)
    if gap > _OPEN:
        texture = cv2.inpaint(texture, _with_corners(inside, marks, grid), 0.036 * scale, cv2.INPAINT_TELEA)
    shape, middle, halves, slant = _at_rest(marks, lips, gap)
    return Face(portrait.content, grid, texture, marks, shape, lips, middle, halves, slant, tooth, light, gap)


def _to_units(irises: np.ndarray) -> np.ndarray:
    """(2, 3) pixels of the photograph to face units: origin midway between the pupils, their distance 1, level."""
    across = irises[1] - irises[0]
    x, y = across / float(across @ across)
    linear = np.array([[x, y], [-y, x]])
    return np.column_stack([linear, -linear @ irises.mean(axis=0)])


def _lips(marks: FaceMarks) -> Lips:
    outer_upper, inner_upper, inner_lower, outer_lower = marks.lips
    x = np.linspace(outer_upper[0, 0], outer_upper[-1, 0], 81)
    ends = outer_upper[[0]], outer_upper[[-1]]
    inner_upper, inner_lower = (np.concatenate([ends[0], line, ends[1]]) for line in (inner_upper, inner_lower))
    edges = np.stack([_height(line, x) for line in (outer_upper, inner_upper, inner_lower, outer_lower)])
    return Lips(x, np.maximum.accumulate(edges, axis=0))


def _height(line: np.ndarray, x: np.ndarray) -> np.ndarray:
    order = np.maximum.accumulate(line[:, 0] + np.arange(len(line)) * 1e-6)
    return np.interp(x, order, line[:, 1])


def _inside(marks: FaceMarks, grid: Grid) -> np.ndarray:
    """(H, W) uint8: 1 between the inner lips."""
    canvas = np.zeros((grid.height, grid.width), np.uint8)
    ring = np.concatenate([marks.lips[1], marks.lips[2][::-1]])
    cv2.fillPoly(canvas, [np.round(grid.pixels(ring)).astype(np.int32)], 1)
    return canvas


def _with_corners(inside: np.ndarray, marks: FaceMarks, grid: Grid) -> np.ndarray:
    """``inside`` grown by what shines and darkens round it: a little, and to the corners."""
    hole = inside.copy()
    for end in (0, -1):
        a, b = (tuple(int(v) for v in np.round(grid.pixels(marks.lips[edge, end]))) for edge in (0, 1))
        cv2.line(hole, a, b, 1, max(1, round(_CORNER * grid.scale)))
    around = max(1, round(_FRINGE * grid.scale))
    return cv2.dilate(hole, np.ones((3, 3), np.uint8), iterations=around)


def _tooth_color(texture: np.ndarray, inside: np.ndarray, gap: float) -> tuple[float, float, float]:
    """Of the brightest third inside the mouth, if it is open; else an ordinary one."""
    if gap < 2 * _OPEN:
        return 0.80, 0.76, 0.70
    seen = texture[inside > 0].astype(np.float32) / 255
    bright = seen[seen.min(axis=1) >= np.quantile(seen.min(axis=1), 0.66)].mean(axis=0)
    level = float(bright.mean())
    white = np.array((0.84, 0.80, 0.74), np.float32) * np.clip(level, 0.5, 0.85) / 0.79
    share = np.clip((level - 0.35) / 0.25, 0, 1)  # where no teeth are seen it is lips and gums
    red, green, blue = white + (bright - white) * share * 0.8
    return float(red), float(green), float(blue)


def skin_color(texture: np.ndarray, marks: FaceMarks, grid: Grid) -> tuple[float, float, float]:
    """Display RGB in [0, 1] of the cheeks beside the nose, on a ``texture`` (H, W, 3 or more) uint8 of ``grid``."""
    colors = []
    for point in marks.landmarks[[31, 35]] + ((-0.25, 0.0), (0.25, 0.0)):
        rows, columns, _ = grid.part(point[0] - 0.07, point[1] - 0.07, point[0] + 0.07, point[1] + 0.07)
        colors.append(texture[rows, columns, :3].reshape(-1, 3).mean(axis=0))
    red, green, blue = np.mean(colors, axis=0) / 255
    return float(red), float(green), float(blue)


def _at_rest(marks: FaceMarks, lips: Lips, gap: float) -> tuple[FaceShape, float, tuple[float, float], float]:
    """The face with its mouth closed, middle, halves and slant of the mouth."""
    points = marks.landmarks
    upper_outer, upper_inner, lower_inner, lower_outer = lips.edges
    middle = float(np.mean([points[i, 0] for i in (51, 62, 66, 57)]))
    left, right = middle - lips.x[0], lips.x[-1] - middle
    seen_half = float((left + right) / 2)
    half = _REST_HALF + (seen_half - _REST_HALF) * (_SMILE_KEPT if seen_half > _REST_HALF else 1.0)
    centre = int(np.argmin(np.abs(lips.x - middle)))
    line = float(upper_inner[centre] + _CLOSING * (lower_inner[centre] - upper_inner[centre]))
    corners = float(upper_inner[[0, -1]].mean())
    smile = line - corners
    wider = seen_half / half
    thickness = []
    for seen, (least, most) in zip((upper_inner - upper_outer, lower_outer - lower_inner), _THICKNESS, strict=True):
        thickness.append(float(np.clip(seen.max() * wider, least, most)))
    chin = float(points[8, 1])
    nose = float(points[33, 1])
    base = make_identity(0).shape
    shape = replace(
        base,
        chin_y=chin,
        nose_y=nose,
        mouth_y=line,
        mouth_half=half,
        upper_lip=thickness[0],
        lower_lip=thickness[1],
        smile=smile * (_SMILE_KEPT if smile > 0 else 1.0),
        max_opening=float(np.clip(_WIDEST * (chin - nose) / 1.0, 0.27, 0.43)),
    )
    slant = float(upper_inner[-1] - upper_inner[0]) / 2
    return shape, middle, (left / seen_half, right / seen_half), slant


def chin_sink(shape: FaceShape, opening: Number) -> np.ndarray:
    """How far the chin sinks at an ``opening`` relative to the widest."""
    return np.asarray(CHIN_PER_OPENING * shape.max_opening * opening)

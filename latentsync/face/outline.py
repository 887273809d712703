"""The soft outline of a face on the canvas, and how far the generated jaw has moved against that of the source.

The network generates a fixed area, which reaches over the neck, the hair and the background; only the face is to be
pasted. Its outline is the convex hull of the landmarks. Across the cheeks the border is wide and lies inside the hull,
and beside the nose, where speech moves little, it is widest.
Along the jaw it is narrow and reaches a little over the hull, because the edge between chin and neck must come from one
of the two images: where the generated jaw is lower, the outline goes down with it, and where it is higher, the outline
still covers the edge of the source's chin.

The hull is convex, so the distance of a place from it is the least of its distances from the lines through its edges.
That is evaluated on a coarse grid and interpolated, which keeps it exact below a pixel: nothing jitters when landmarks
move by a fraction of one.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

GRID = 64  # points along a side of the canvas at which the outline is evaluated
JAW, UPPER_LIP, LOWER_LIP, CHIN = slice(0, 17), 51, 57, 8  # landmarks, iBUG order
MOUTH_CORNERS = (48, 54)
# An edge whose outward normal points down by less than the first share counts as cheek, by more than the second as jaw.
CHEEK_JAW = (0.2, 0.7)
# In shares of the canvas side: how far the area reaches over the jaw, and further where the jaw has moved.
JAW_MARGIN, MOVED_MARGIN = 0.01, 0.02
JAW_FEATHER = 0.5  # width of the border along the jaw over that across the cheeks
# Beside the nose the painted area fades out upwards: how far above the lips it ends, and over what height it fades, as
# shares of the canvas side.
UPPER_END, UPPER_FADE = 0.23, 0.16
MOST_DROP = 0.1  # share of the canvas side that a jaw may have moved: a mouth opens by no more
MATCHED_SIDE = 128  # px of the canvas on which the chin is looked for
BELOW_CHIN = 0.05  # share of the canvas side that is matched below the chin: its edge against the neck
LEAST_MATCH = (0.6, 0.85)  # correlation of the two chins: none of the movement is believed, and all of it
STILL = 0.05  # correlation by which the moved chin must fit better than the unmoved one


@functools.lru_cache(maxsize=4)
def grid_points(side: int) -> np.ndarray:
    """(2, GRID * GRID) float32: x, y of the grid on a canvas of ``side`` pixels, row by row, as ``cv2.resize`` places
    it."""
    along = (np.arange(GRID, dtype=np.float32) + 0.5) * np.float32(side / GRID) - np.float32(0.5)
    return np.stack(np.meshgrid(along, along)).reshape(2, -1)


def grid_to_canvas(side: int) -> np.ndarray:
    """(2, 3) float64: places on the grid to pixels of a canvas of ``side`` pixels; see ``grid_points``."""
    cell = side / GRID
    return np.array([[cell, 0, (cell - 1) / 2], [0, cell, (cell - 1) / 2]])


def outline_ramp(points: np.ndarray, side: int, feather: float, expand: float = 0.0, jaw: float = 0.0) -> np.ndarray:
    """(GRID, GRID) float32: 0 where the border of a face begins, 1 where the face is fully seen, unlimited.

    Its landmarks lie at ``points`` (68, 2) on a canvas of ``side`` pixels. ``feather``: width of the border across the
    cheeks, and ``expand``: by how much the outline is larger, as shares of the side. ``jaw``: canvas pixels by which
    the generated chin is lower (positive) or higher (negative).
    """
    depths, jawness, below_end = _outline(points, side, expand, jaw)
    width = np.maximum(1.0, feather * side * (1 + jawness * (JAW_FEATHER - 1)))
    ramp = (depths / width[:, None].astype(np.float32)).min(axis=0)
    ramp = np.minimum(ramp, below_end / np.float32(UPPER_FADE * side))
    return ramp.reshape(GRID, GRID)


def outline_depth(points: np.ndarray, side: int, expand: float = 0.0) -> np.ndarray:
    """(GRID, GRID) float32: canvas pixels inside the outline of a face whose jaw has not moved; see
    ``outline_ramp``."""
    return _outline(points, side, expand, 0.0)[0].min(axis=0).reshape(GRID, GRID)


def _outline(points: np.ndarray, side: int, expand: float, jaw: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float32: canvas pixels inside each edge of the outline (edges, GRID * GRID), how much of the jaw and not of the
    cheeks an edge is (edges,), and canvas pixels below the upper end of what is painted (GRID * GRID,)."""
    lowered = points[JAW].astype(np.float32)
    # A jaw turns about its joints: the chin moves most, the angles of the jaw hardly.
    share = np.sin(np.linspace(0, np.pi, len(lowered), dtype=np.float32)) ** 2
    lowered[:, 1] += max(jaw, 0.0) * share
    hull, outward = _edges(np.concatenate([points.astype(np.float32), lowered]))
    cheek, jaw_line = CHEEK_JAW
    jawness = np.clip((outward[:, 1] - cheek) / (jaw_line - cheek), 0, 1)
    margin = side * (JAW_MARGIN + min(abs(jaw) / side, MOVED_MARGIN))
    outer = np.float32(expand * side) + jawness * np.float32(margin)
    reach = ((hull * outward).sum(axis=1) + outer).astype(np.float32)
    depths = reach[:, None] - outward @ grid_points(side)
    below_end = grid_points(side)[1] - np.float32(points[UPPER_LIP, 1] - UPPER_END * side - outer.min())
    return depths, jawness, below_end


def hull_depth(points: np.ndarray, side: int, reach: float) -> np.ndarray:
    """(GRID, GRID) float32: canvas pixels inside the convex hull of ``points`` (n, 2); outside, the distance from it,
    negative, and no further than ``-reach``.

    Beyond a corner the corner itself is nearest. The lines through the edges pass nearer by, the more the sharper the
    corner is, and those of a closed mouth are sharp. Points in a line are a hull without an inside.
    """
    cell = side / GRID
    left, top = np.maximum(np.floor((points.min(axis=0) - reach) / cell), 0).astype(int)
    right, bottom = np.maximum(np.ceil((points.max(axis=0) + reach) / cell) + 1, 0).astype(int)
    near = slice(top, bottom), slice(left, right)  # the cells beyond them are further away
    rows, columns = (axis[near] for axis in reversed(grid_points(side).reshape(2, GRID, GRID)))
    places = np.stack([columns.ravel(), rows.ravel()])
    corners, outward = _edges(points.astype(np.float32))
    forward = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(forward, axis=1, keepdims=True)
    beyond = outward @ places - (corners * outward).sum(axis=1, keepdims=True)  # the line of an edge
    along = (forward / lengths) @ places - (corners * forward / lengths).sum(axis=1, keepdims=True)
    aside = np.abs(along - lengths / 2) - lengths / 2  # of the edge, along its line
    distance = np.sqrt((beyond**2 + np.maximum(aside, 0) ** 2).min(axis=0))
    inside = -beyond.max(axis=0)
    depth = np.full((GRID, GRID), -reach, np.float32)
    depth[near] = np.where(inside > 0, inside, np.maximum(-distance, -reach)).reshape(columns.shape)
    return depth


def canvas_map(grid: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32: values on the grid, interpolated."""
    return cv2.resize(grid, (side, side), interpolation=cv2.INTER_LINEAR)


def on_grid(canvas: np.ndarray) -> np.ndarray:
    """(C, R, R) -> (C, GRID, GRID) float32: averages of the cells of the grid."""
    return np.stack([cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_AREA) for plane in canvas])


def _edges(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) float32 each: the corners of the convex hull of ``points``, and the outward normals of the edges there."""
    hull = cv2.convexHull(points)[:, 0]
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.linalg.norm(edges, axis=1)
    hull, edges = hull[lengths > 1e-3], edges[lengths > 1e-3] / lengths[lengths > 1e-3, None]
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    pointing_in = ((hull.mean(axis=0) - hull) * outward).sum() > 0
    return hull, -outward if pointing_in else outward


def jaw_movement(generated: np.ndarray, source: np.ndarray, points: np.ndarray) -> float:
    """Canvas pixels by which the chin of a generated face is lower than that of the source; 0 if it cannot be told.

    ``generated`` and ``source`` (3, R, R) float32 canvases, ``points`` (68, 2) the source's landmarks on them. The part
    from the lower lip to below the chin is looked for above and below its place by normalised cross-correlation.
    """
    side = source.shape[-1]
    left, right = np.clip(points[list(MOUTH_CORNERS), 0], 0, side - 1)
    top, bottom = np.clip([points[LOWER_LIP, 1], points[CHIN, 1] + BELOW_CHIN * side], 0, side)
    scale = min(1.0, MATCHED_SIDE / side)
    far = MOST_DROP * side
    x0, x1 = int(left), int(right) + 1
    y0, y1 = int(top), int(bottom)
    low, high = max(0, int(y0 - far)), min(side, int(np.ceil(y1 + far)))
    if x1 - x0 < 8 / scale or y1 - y0 < 8 / scale:
        return 0.0
    images = (image[:, low:high, x0:x1].mean(axis=0) for image in (generated, source))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((high - low) * scale)))
    searched, own = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images)
    step = (high - low) / size[1]
    first = round((y0 - low) / step)
    part = own[first : first + round((y1 - y0) / step)]
    if part.std() < 0.02:  # nothing to find again
        return 0.0
    scores = cv2.matchTemplate(searched, part, cv2.TM_CCOEFF_NORMED)[:, 0]
    best = int(scores.argmax())
    none, full = LEAST_MATCH
    trust = np.clip((scores[best] - none) / (full - none), 0, 1) * np.clip((scores[best] - scores[first]) / STILL, 0, 1)
    return float((best + _peak(scores, best) - first) * step * trust)


def _peak(scores: np.ndarray, best: int) -> float:
    """Where the parabola through the best score and its neighbours has its top, from -0.5 to 0.5."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    before, at, after = (float(scores[best + k]) for k in (-1, 0, 1))
    bend = before - 2 * at + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0

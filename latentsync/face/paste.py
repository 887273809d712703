"""A generated face back into its frame: only the area of the face changes, everything else stays bit for bit.

Whatever can be done on the small canvas is done there: the colors of the face are compared with those of the frame, and
corrected, before the face is warped into the frame. ``FacePaster`` splits the work so that a pipeline can use several
threads: ``fit`` and ``paste`` may run in any thread; what ``fit`` finds is smoothed over time between them.
``paste_face`` does all of it for one frame.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.face.box import pixels_in_box, transformed_box
from latentsync.face.color_match import NEUTRAL, ColorFit, fit_color
from latentsync.face.detail import coarse_difference, outside_lips
from latentsync.face.layers import Layer, layers_of, with_painted
from latentsync.face.mask import load_mask
from latentsync.face.outline import (
    GRID,
    canvas_map,
    grid_points,
    grid_to_canvas,
    jaw_movement,
    on_grid,
    outline_depth,
    outline_ramp,
)
from latentsync.face.paste_settings import FACE, TRAINED, PasteSettings
from latentsync.face.resample import Warp, warp
from latentsync.face.similarity import compose, invert, transform
from latentsync.levels import denormalize_canvas, normalize_canvas
from latentsync.types import AlignedFace, ArrayFrame, Box, Frame
from latentsync.yuv import TO_CHROMA

BORDER_MARGIN = 1.5  # canvas pixels that the pasted area is smaller: interpolation reaches 1.41 pixels beyond it
EDGE_REACH = 3.0  # canvas pixels, of one frame pixel at least, that grey from outside the frame is mixed into
RING = 0.06  # width of the ring in which colors are compared, as a share of the canvas side
TINT, TINT_SHARE = (0, 255, 0), 0.4  # of the painted area where it is to be seen
COARSE_CELL = 5.0  # pixels from one point of a grid to the next, from which on it is coarse
TILE = 64  # pixels: sizes of dither patterns are multiples of it


def _bayer(side: int) -> np.ndarray:
    """(side, side) float32 ordered dither, Bayer 1973: a power of two values, evenly spaced within +-0.5."""
    pattern = np.zeros((1, 1))
    while len(pattern) < side:
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    return ((pattern + 0.5) / pattern.size - 0.5).astype(np.float32)


BAYER = _bayer(8)


@dataclass(frozen=True, slots=True)
class FaceFit:
    """What brings a generated face into its frame: the correction of its colors, and how many canvas pixels its chin is
    lower than that of the source. ``coarse``: generated face and source (3, GRID, GRID) in grey levels, averages of the
    cells of the grid, if they are known already."""

    color: ColorFit = NEUTRAL
    jaw: float = 0.0
    coarse: tuple[np.ndarray, np.ndarray] | None = None


UNFITTED = FaceFit()


@dataclass(frozen=True, slots=True)
class PaintedArea:
    """Where a face is painted on the canvas: ``weights`` (h, w) float32 in [0, 1] of the pixels in ``box``."""

    weights: np.ndarray
    box: Box


class FacePaster:
    """Pastes the faces of one run. ``keep_mask`` (1, R, R) float32, 1 = keep, is what the network was trained with.

    Raises ``ConfigError`` if the mask of the ``settings`` cannot be used.
    """

    def __init__(self, keep_mask: np.ndarray, settings: PasteSettings | None = None) -> None:
        self.settings = settings or PasteSettings()
        self._side = side = keep_mask.shape[-1]
        hole = keep_mask[0] < 0.5
        if self.settings.mask not in (FACE, TRAINED):
            hole = hole & (load_mask(self.settings.mask, side)[0] < 0.5)
        padded = np.pad(hole.astype(np.uint8), 1)
        self._depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] - BORDER_MARGIN
        self._ramp = self._depth / max(1.0, self.settings.feather * side)
        self._coarse_depth = on_grid(self._depth[None])[0]
        self._box = _box_of(self._depth > 0)
        self._whole = None if self._box is None else self._cut_out(self._ramp)

    def fit(
        self,
        face: np.ndarray,
        aligned: AlignedFace,
        shape: tuple[int, ...],
        landmarks: np.ndarray | None = None,
        *,
        colors: bool = True,
    ) -> FaceFit:
        """What a generated ``face`` (3, R, R) float32 in [-1, 1] lacks to look like a part of its frame.

        ``aligned`` is the face in the frame, whose ``shape`` is (H, W, ...) and where its ``landmarks`` (68, 2) lie.
        The colors of the two are compared, averaged over the cells of a grid, in a ring inside the border of the pasted
        area, where the ring lies inside the frame; not without ``colors``.
        """
        if self._box is None:
            return UNFITTED
        points = None if landmarks is None else _on_canvas(landmarks, aligned)
        jaw = 0.0 if points is None else jaw_movement(face, aligned.pixels, points)
        if not self.settings.match_color:
            return FaceFit(jaw=jaw)
        coarse = _coarse(face), _coarse(aligned.pixels)
        if not colors:
            return FaceFit(jaw=jaw, coarse=coarse)
        depth = self._coarse_depth
        if points is not None and self.settings.mask == FACE:
            depth = np.minimum(depth, outline_depth(points, self._side, self.settings.expand))
        x, y = transform(invert(aligned.matrix), grid_points(self._side).T.astype(np.float64)).T
        inside = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
        cell = self._side / GRID
        ring = inside.reshape(GRID, GRID) & (depth > cell / 2) & (depth < cell / 2 + RING * self._side)
        return FaceFit(fit_color(*(image[:, ring].T for image in coarse)), jaw, coarse)

    def area(self, aligned: AlignedFace, landmarks: np.ndarray | None, fit: FaceFit = UNFITTED) -> PaintedArea | None:
        """Where a face is painted on its canvas; None if nowhere. For the arguments see ``fit``."""
        if self._box is None or landmarks is None or self.settings.mask != FACE:
            return self._whole
        points, settings = _on_canvas(landmarks, aligned), self.settings
        ramp = outline_ramp(points, self._side, settings.feather, settings.expand, fit.jaw)
        return self._cut_out(np.minimum(self._ramp, canvas_map(ramp, self._side)))

    def _cut_out(self, ramp: np.ndarray) -> PaintedArea | None:
        """The area whose border rises with ``ramp`` (R, R), from 0 to 1; a column and a row of zeros stay around it."""
        box = _box_of(ramp > 0, margin=1)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        along = np.clip(ramp[y0:y1, x0:x1], 0, 1)
        return PaintedArea((along * along * (3 - 2 * along)).astype(np.float32), box)

    def paste(
        self,
        frame: Frame,
        face: np.ndarray,
        aligned: AlignedFace,
        fit: FaceFit = UNFITTED,
        *,
        landmarks: np.ndarray | None = None,
        strength: float = 1.0,
        visible: np.ndarray | None = None,
    ) -> Frame:
        """The frame with the generated face (3, R, R) float32 in [-1, 1] in it, brought there by ``fit``.

        ``aligned``: the face of the frame; ``landmarks`` (68, 2) in frame pixels: without them the whole trained area
        is painted, and no detail is carried over. ``strength`` in [0, 1] is the weight of the face against the frame,
        for ramps beside gaps. ``visible`` (R, R) float32 in [0, 1] on the canvas: 1 = may be painted, 0 = something is
        in front of the face; None = nothing is.
        """
        painted = self.area(aligned, landmarks, fit)
        to_frame = invert(aligned.matrix)
        box = None if painted is None else pixels_in_box(transformed_box(to_frame, _corners(painted.box)), frame.shape)
        if painted is None or box is None or strength == 0:
            return frame
        box, layers = layers_of(frame, box)
        alpha = self._alpha(painted, strength, visible, to_frame, box, frame.shape)
        points = None if landmarks is None else _on_canvas(landmarks, aligned)
        coarse = None
        if points is not None and self.settings.detail > 0 and not self.settings.debug_mask:
            coarse = self._coarse_change(face, aligned, fit, points)
        result = []
        for layer in layers:
            to_layer = compose(layer.matrix, to_frame)
            changes = self._changes(layer, face, fit, coarse, to_layer)
            # Chroma lies in the middle of its pixels, so its share is their average.
            shares = alpha
            if alpha.shape != layer.shape:
                shares = cv2.resize(alpha, layer.shape[::-1], interpolation=cv2.INTER_AREA)
            pattern = _dither(layer.corner, layer.shape)
            for plane, change in zip(layer.planes, changes, strict=True):
                # Where alpha is 0 this gives the frame's own value exactly.
                change = cv2.add(cv2.multiply(change, shares, dst=change), pattern, dst=change)
                result.append(cv2.add(plane, change, dtype=cv2.CV_8U))  # rounds, stops at 0 and 255
        return with_painted(frame, box, result)

    def _alpha(
        self,
        painted: PaintedArea,
        strength: float,
        visible: np.ndarray | None,
        to_frame: np.ndarray,
        box: Box,
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """(h, w) float32 in [0, 1]: the weight of the face in the pixels in ``box`` of a frame of ``shape``."""
        left, top, right, bottom = painted.box
        weights = painted.weights * np.float32(strength)
        if visible is not None:
            weights *= visible[top:bottom, left:right]
        from_area = compose(_moved(-box[0], -box[1]), compose(to_frame, _moved(left, top)))
        size = (box[2] - box[0], box[3] - box[1])
        alpha = cv2.warpAffine(weights, from_area, size, flags=cv2.INTER_LINEAR)
        return self._faded_at_edges(alpha, box, to_frame, shape)

    def _coarse_change(
        self, face: np.ndarray, aligned: AlignedFace, fit: FaceFit, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """On the grid: by what the face differs from the source without fine structure (3, GRID, GRID), and the share
        of the source's fine structure that stays (GRID, GRID)."""
        generated, source = fit.coarse or (_coarse(face), _coarse(aligned.pixels))
        limit = outside_lips(points, self._side, fit.jaw) * np.float32(self.settings.detail)
        return coarse_difference(fit.color.apply(generated), source, points, self._side, fit.jaw, limit)

    def _changes(
        self,
        layer: Layer,
        face: np.ndarray,
        fit: FaceFit,
        coarse: tuple[np.ndarray, np.ndarray] | None,
        to_layer: np.ndarray,
    ) -> list[np.ndarray]:
        """(h, w) float32 for each plane of a layer: what the face, seen whole, adds to it.

        The face itself is warped only where the source's fine structure does not stay; what is smooth is warped from
        the grid. Without ``coarse`` it is warped everywhere. ``to_layer`` (2, 3): canvas to samples of the layer.
        """
        height, width = layer.shape
        if coarse is None:
            levels = self._levels(layer, face, fit, to_layer, (width, height))
            return [cv2.subtract(*pair, dtype=cv2.CV_32F) for pair in zip(levels, layer.planes, strict=True)]
        difference, kept = coarse
        from_grid = compose(to_layer, grid_to_canvas(self._side))
        changes = [_smooth_warp(each, from_grid, (width, height)) for each in layer.differences(difference)]
        cells = _box_of(kept < 1, margin=1)
        own = None if cells is None else pixels_in_box(transformed_box(from_grid, _corners(cells)), layer.shape)
        if own is None:
            return changes
        x0, y0, x1, y1 = own
        place, size, back = (slice(y0, y1), slice(x0, x1)), (x1 - x0, y1 - y0), _moved(-x0, -y0)
        share = _smooth_warp(kept.astype(np.float32), compose(back, from_grid), size)
        levels = self._levels(layer, face, fit, compose(back, to_layer), size)
        for change, level, plane in zip(changes, levels, layer.planes, strict=True):
            own_change = cv2.subtract(level, plane[place], dtype=cv2.CV_32F)
            change[place] = cv2.blendLinear(own_change, change[place], 1 - share, share)
        return changes

    def _levels(
        self, layer: Layer, face: np.ndarray, fit: FaceFit, matrix: np.ndarray, size: tuple[int, int]
    ) -> list[np.ndarray]:
        """(h, w) float32 for each plane of a layer: the face as a part of it of ``size`` (w, h) shows it."""
        to_part = Warp(matrix, size, (self._side, self._side))
        x0, y0, x1, y1 = to_part.box
        canvas = np.clip(fit.color.apply(denormalize_canvas(face[:, y0:y1, x0:x1])), 0, 255)
        if self.settings.debug_mask:
            canvas = canvas + TINT_SHARE * (np.array(TINT, np.float32)[:, None, None] - canvas)
        grey = layer.levels(np.full((3, 1, 1), 127.5, np.float32))
        return [
            to_part.apply(plane[..., None], float(fill[0, 0]))[..., 0]
            for plane, fill in zip(layer.levels(canvas), grey, strict=True)
        ]

    def _faded_at_edges(self, alpha: np.ndarray, box: Box, to_frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """``alpha`` of ``box``, less and less towards the edges of the frame that the canvas reaches over.

        The canvas is filled with grey out there, which interpolation mixes into the pixels at the edge.
        """
        last = self._side - 1
        seen = transformed_box(to_frame, (0, 0, last, last))
        if seen[:2].min() >= 0 and seen[2] <= shape[1] - 1 and seen[3] <= shape[0] - 1:
            return alpha
        steps = np.linalg.norm(to_frame[:, :2], axis=1)  # frame pixels per canvas pixel, along x and y
        for axis, side in enumerate((shape[1], shape[0])):
            reach = EDGE_REACH * max(1.0, float(steps[axis]))
            along = np.arange(box[axis], box[axis + 2])
            distance = np.full(len(along), np.inf)
            if seen[axis] < 0:
                distance = np.minimum(distance, along)
            if seen[axis + 2] > side - 1:
                distance = np.minimum(distance, side - 1 - along)
            fade = np.clip(distance / reach - 1, 0, 1).astype(np.float32)
            if fade.min() < 1:
                alpha = alpha * (fade[None, :] if axis == 0 else fade[:, None])
        return alpha


def _dither(corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 of that ``shape``: what is added to samples from a ``corner`` x, y on before they are rounded.

    Those of the source are whole numbers, so a change of color that is the same everywhere would be rounded the same
    way everywhere, and a slow drift would show as steps of a level. The pattern stands still, and whole numbers stay.
    """
    x, y = (start % len(BAYER) for start in corner)
    height, width = shape
    rows, columns = (TILE * -(-(side + len(BAYER)) // TILE) for side in shape)
    return _dither_tile(rows, columns)[y : y + height, x : x + width]


@functools.lru_cache(maxsize=16)
def _dither_tile(height: int, width: int) -> np.ndarray:
    repeats = height // len(BAYER), width // len(BAYER)
    return np.tile(BAYER, repeats)


def _coarse(canvas: np.ndarray) -> np.ndarray:
    """(3, R, R) in [-1, 1] -> (3, GRID, GRID) in grey levels."""
    return denormalize_canvas(on_grid(canvas))


def _smooth_warp(grid: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w[, C]) float32: smooth values on a grid, warped to ``size`` (w, h).

    Where the grid is coarse in the target, every other pixel is warped, and those between are interpolated.
    """
    width, height = size
    if is_coarse := bool(np.linalg.norm(matrix[:, :2], axis=0).min() >= COARSE_CELL):
        matrix, size = compose(TO_CHROMA, matrix), (width // 2 + 1, height // 2 + 1)
    warped = cv2.warpAffine(grid, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if not is_coarse:
        return warped
    return cv2.resize(warped, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)[:height, :width]


def _moved(x: float, y: float) -> np.ndarray:
    """(2, 3) float64: by so many pixels."""
    return np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)


def _on_canvas(landmarks: np.ndarray, aligned: AlignedFace) -> np.ndarray:
    return transform(aligned.matrix, landmarks.astype(np.float64))


def _box_of(region: np.ndarray, margin: int = 0) -> Box | None:
    """The smallest box that holds what is true in ``region`` (R, R), and a margin; None if there is nothing."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return None
    x0, y0 = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    return x0, y0, min(region.shape[1], int(columns[-1]) + 1 + margin), min(region.shape[0], int(rows[-1]) + 1 + margin)


def _corners(box: Box) -> tuple[int, int, int, int]:
    """Its first and last pixels."""
    return box[0], box[1], box[2] - 1, box[3] - 1


def paste_face(
    frame: np.ndarray,
    face: np.ndarray,
    matrix: np.ndarray,
    keep_mask: np.ndarray,
    settings: PasteSettings | None = None,
    *,
    landmarks: np.ndarray | None = None,
    strength: float = 1.0,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """A new frame (H, W, 3) uint8: ``frame`` with the generated face where ``keep_mask`` is 0, bit-equal elsewhere.

    ``face`` (3, R, R) float32 in [-1, 1]; ``matrix`` (2, 3) frame to canvas pixels; ``keep_mask`` (1, R, R) float32,
    1 = keep. See ``FacePaster.paste`` for the rest.
    """
    paster, side = FacePaster(keep_mask, settings), keep_mask.shape[-1]
    seen = normalize_canvas(warp(frame, matrix, (side, side), 127).transpose(2, 0, 1))
    aligned = AlignedFace(pixels=seen, matrix=matrix)
    fit = paster.fit(face, aligned, frame.shape, landmarks)
    pasted = paster.paste(
        ArrayFrame.of(frame), face, aligned, fit, landmarks=landmarks, strength=strength, visible=visible
    )
    return pasted.pixels.copy() if pasted.pixels is frame else pasted.pixels

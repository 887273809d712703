"""A generated face back into its frame: only the area of the mask changes, everything else stays bit for bit.

Whatever can be done on the small canvas is done there: the colors of the face are compared with those of the frame, and
corrected, before the face is warped into the frame. ``FacePaster`` splits the work so that a pipeline can use several
threads: ``compare`` and ``paste`` may run in any thread; the smoothing of the color correction between them runs in
frame order. ``paste_face`` does all of it for one frame.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.face.box import pixels_in_box, transformed_box
from latentsync.face.color_match import NEUTRAL, ColorFit, ColorSmoother, fit_color
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.resample import warp
from latentsync.face.similarity import invert, transform
from latentsync.levels import denormalize_canvas, normalize_canvas
from latentsync.types import AlignedFace, ArrayFrame, Box, Frame

BORDER_MARGIN = 1.5  # canvas pixels that the pasted area is smaller: interpolation reaches 1.41 pixels beyond it
EDGE_REACH = 3.0  # canvas pixels, of one frame pixel at least, that grey from outside the frame is mixed into
RING = 0.06  # width of the ring in which colors are compared, as a share of the canvas side
RING_SAMPLES = 400  # about so many pixels go into the color fit; they are blurred, so more would add nothing
RING_BLUR = 0.02  # width of the blur as a share of the area's width: finer details are not a matter of light


class FacePaster:
    """Pastes the faces of one run. ``keep_mask`` (1, R, R) float32, 1 = keep."""

    def __init__(self, keep_mask: np.ndarray, settings: PasteSettings | None = None) -> None:
        self.settings = settings or PasteSettings()
        side = keep_mask.shape[-1]
        hole = np.pad((keep_mask[0] < 0.5).astype(np.uint8), 1)
        depth = cv2.distanceTransform(hole, cv2.DIST_L2, 5)[1:-1, 1:-1] - BORDER_MARGIN
        ramp = np.clip(depth / max(1.0, self.settings.feather * side), 0, 1)
        self._alpha = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
        rows, columns = np.flatnonzero(hole.any(axis=1)) - 1, np.flatnonzero(hole.any(axis=0)) - 1
        self._box = (columns[0], rows[0], columns[-1], rows[-1]) if len(rows) else None
        ring = np.argwhere((depth > 0) & (depth < RING * side))[:, ::-1]
        self._ring = ring[:: max(1, len(ring) // RING_SAMPLES)]  # x, y
        self._blur = 2 * round(RING_BLUR * len(columns) / 2) + 1
        reach = self._blur // 2
        self._ring_box = (*np.maximum(ring.min(0) - reach, 0), *(ring.max(0) + reach + 1)) if len(ring) else None

    def compare(self, face: np.ndarray, aligned: AlignedFace, shape: tuple[int, ...]) -> ColorFit:
        """The correction that brings the colors of a generated ``face`` (3, R, R) float32 in [-1, 1] to the frame's.

        ``aligned`` is the face in the frame, whose ``shape`` is (H, W, ...). The two are compared, blurred, in a ring
        inside the border of the pasted area, where the ring lies inside the frame.
        """
        if not self.settings.match_color or self._ring_box is None:
            return NEUTRAL
        x, y = transform(invert(aligned.matrix), self._ring.astype(np.float64)).T
        inside = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
        columns, rows = (self._ring[inside] - self._ring_box[:2]).T
        generated, original = (
            self._blurred(canvas, self._ring_box)[rows, columns] for canvas in (face, aligned.pixels)
        )
        return fit_color(generated, original)

    def _blurred(self, canvas: np.ndarray, box: Box) -> np.ndarray:
        """The part of a canvas (3, R, R) in ``box``, as (h, w, 3) float32 grey levels, blurred."""
        left, top, right, bottom = box
        part = cv2.merge(list(denormalize_canvas(canvas[:, top:bottom, left:right])))
        return cv2.blur(part, (self._blur, self._blur))

    def paste(
        self,
        frame: Frame,
        face: np.ndarray,
        matrix: np.ndarray,
        color: ColorFit = NEUTRAL,
        strength: float = 1.0,
        visible: np.ndarray | None = None,
    ) -> Frame:
        """The frame with the face (3, R, R) float32 in [-1, 1] in it, recolored by ``color``.

        ``matrix`` (2, 3) maps frame pixels to canvas pixels. ``strength`` in [0, 1] is the weight of the face against
        the frame, for ramps beside gaps. ``visible`` (R, R) float32 in [0, 1] on the canvas: 1 = may be painted, 0 =
        something is in front of the face; None = nothing is.
        """
        box = self._area(matrix, frame.shape)
        if box is None or strength == 0:
            return frame
        x0, y0, x1, y1 = box
        to_box = invert(matrix)
        to_box[:, 2] -= (x0, y0)
        size = (x1 - x0, y1 - y0)
        weight = self._alpha * np.float32(strength)
        if visible is not None:
            weight *= visible
        alpha = cv2.warpAffine(weight, to_box, size, flags=cv2.INTER_LINEAR)
        alpha = self._faded_at_edges(alpha, box, matrix, frame.shape)
        levels = cv2.merge(list(np.clip(color.apply(denormalize_canvas(face)), 0, 255)))
        part = frame.region(box).astype(np.float32)
        # Where alpha is 0 this gives the frame's own value to 0.003 grey levels, and rounding gives it exactly.
        blended = cv2.blendLinear(warp(levels, to_box, size, 127.5), part, alpha, 1 - alpha)
        return frame.patched(box, cv2.convertScaleAbs(np.maximum(blended, 0, out=blended)))  # rounds, stops at 255

    def _faded_at_edges(self, alpha: np.ndarray, box: Box, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """``alpha`` of ``box``, less and less towards the edges of the frame that the canvas reaches over.

        The canvas is filled with grey out there, which interpolation mixes into the pixels at the edge.
        """
        to_frame, last = invert(matrix), self._alpha.shape[0] - 1
        seen = transformed_box(to_frame, (0, 0, last, last))
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

    def _area(self, matrix: np.ndarray, shape: tuple[int, ...]) -> Box | None:
        """The pixels of the frame that may change; None if there are none."""
        if self._box is None:
            return None
        return pixels_in_box(transformed_box(invert(matrix), self._box), shape)


def paste_face(
    frame: np.ndarray,
    face: np.ndarray,
    matrix: np.ndarray,
    keep_mask: np.ndarray,
    settings: PasteSettings | None = None,
    *,
    smoother: ColorSmoother | None = None,
    shot: int = 0,
    strength: float = 1.0,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """A new frame (H, W, 3) uint8: ``frame`` with the generated face where ``keep_mask`` is 0, bit-equal elsewhere.

    ``face`` (3, R, R) float32 in [-1, 1]; ``matrix`` (2, 3) frame to canvas pixels; ``keep_mask`` (1, R, R) float32,
    1 = keep. ``smoother`` smooths the color correction over the frames of a ``shot``. See ``FacePaster.paste`` for the
    rest.
    """
    paster, side = FacePaster(keep_mask, settings), keep_mask.shape[-1]
    seen = normalize_canvas(warp(frame, matrix, (side, side), 127).transpose(2, 0, 1))
    color = paster.compare(face, AlignedFace(pixels=seen, matrix=matrix), frame.shape)
    if smoother is not None:
        color = smoother.next(color, shot)
    pasted = paster.paste(ArrayFrame.of(frame), face, matrix, color, strength, visible)
    return pasted.pixels.copy() if pasted.pixels is frame else pasted.pixels

"""A generated face back into its frame: only the area that the mask gives to the network, everything else bit for bit.

``FacePaster`` splits the work so that a pipeline can spread it: ``prepare`` and ``blend`` may run in any thread, the
smoothing of the colour correction between them runs in frame order. ``paste_face`` does all of it for one frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.face.colour import NEUTRAL, ColourFit, ColourSmoother, fit_colour
from latentsync.face.resample import warp
from latentsync.face.similarity import invert, transform

BORDER_MARGIN = 1.5  # canvas pixels: interpolation reaches one pixel (diagonally 1.41) beyond the area otherwise
RING = 0.06  # width of the ring in which colours are compared, as a share of the canvas side
RING_SAMPLES = 1500  # pixels that the colour fit looks at, about
RING_BLUR = 0.02  # details finer than this share of the area's width are no matter of light


@dataclass(frozen=True, slots=True)
class PasteSettings:
    """``feather``: width of the soft border, inside the area, as a share of the canvas side."""

    feather: float = 0.05
    match_colour: bool = True


@dataclass(frozen=True, slots=True)
class Patch:
    """A generated face on the pixel grid of its frame, not yet blended.

    ``pixels`` (h, w, 3) float32 grey levels; ``alpha`` (h, w) float32 in [0, 1]; the top left pixel is (``x``, ``y``).
    """

    x: int
    y: int
    pixels: np.ndarray
    alpha: np.ndarray
    colour: ColourFit


class FacePaster:
    """Pastes the faces of one run. ``keep_mask`` (1, R, R) float32, 1 = keep."""

    def __init__(self, keep_mask: np.ndarray, settings: PasteSettings | None = None) -> None:
        self.settings = settings or PasteSettings()
        side = keep_mask.shape[-1]
        hole = np.pad((keep_mask[0] < 0.5).astype(np.uint8), 1)
        depth = cv2.distanceTransform(hole, cv2.DIST_L2, 5)[1:-1, 1:-1] - BORDER_MARGIN
        ramp = np.clip(depth / max(1.0, self.settings.feather * side), 0, 1)
        self._alpha = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
        self._ring = ((depth > 0) & (depth < RING * side)).astype(np.float32)
        rows, columns = np.flatnonzero(hole.any(axis=1)) - 1, np.flatnonzero(hole.any(axis=0)) - 1
        self._box = (columns[0], rows[0], columns[-1], rows[-1]) if len(rows) else None

    def prepare(self, frame: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> Patch | None:
        """The face (3, R, R) float32 in [-1, 1] on the grid of its frame (H, W, 3) uint8; None if it lies outside.

        ``matrix`` (2, 3) maps frame pixels to canvas pixels.
        """
        region = self._region(matrix, frame.shape)
        if region is None:
            return None
        x0, y0, x1, y1 = region
        to_region = invert(matrix)
        to_region[:, 2] -= (x0, y0)
        size = (x1 - x0, y1 - y0)
        levels = (face.transpose(1, 2, 0) + 1) * np.float32(127.5)
        pixels = np.clip(warp(levels, to_region, size, 127.5), 0, 255)
        alpha = cv2.warpAffine(self._alpha, to_region, size, flags=cv2.INTER_LINEAR)
        colour = NEUTRAL
        if self.settings.match_colour:
            ring = cv2.warpAffine(self._ring, to_region, size, flags=cv2.INTER_NEAREST)
            colour = _compare(pixels, frame[y0:y1, x0:x1], ring)
        return Patch(x0, y0, pixels, alpha, colour)

    def blend(
        self,
        frame: np.ndarray,
        patch: Patch | None,
        colour: ColourFit,
        strength: float = 1.0,
        protect: np.ndarray | None = None,
    ) -> np.ndarray:
        """A new frame (H, W, 3) uint8 with the patch in it.

        ``strength`` in [0, 1] weighs the face against the frame, for ramps beside gaps. Pixels where ``protect`` (H, W)
        is true stay as they are, for things in front of the mouth.
        """
        result = frame.copy()
        if patch is None or strength == 0:
            return result
        height, width = patch.alpha.shape
        part = result[patch.y : patch.y + height, patch.x : patch.x + width]
        alpha = patch.alpha * np.float32(strength)
        if protect is not None:
            alpha[protect[patch.y : patch.y + height, patch.x : patch.x + width].astype(bool)] = 0
        blended = part + alpha[..., None] * (colour.apply(patch.pixels) - part)
        part[:] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
        return result

    def _region(self, matrix: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
        if self._box is None:
            return None
        left, top, right, bottom = self._box
        corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], dtype=np.float64)
        seen = transform(invert(matrix), corners)
        limits = (shape[1], shape[0])
        x0, y0 = (int(v) for v in np.clip(np.floor(seen.min(axis=0)), 0, limits))
        x1, y1 = (int(v) for v in np.clip(np.ceil(seen.max(axis=0)) + 1, 0, limits))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def paste_face(
    frame: np.ndarray,
    face: np.ndarray,
    matrix: np.ndarray,
    keep_mask: np.ndarray,
    settings: PasteSettings | None = None,
    *,
    smoother: ColourSmoother | None = None,
    shot: int = 0,
    strength: float = 1.0,
    protect: np.ndarray | None = None,
) -> np.ndarray:
    """A new frame (H, W, 3) uint8: ``frame`` with the generated face where ``keep_mask`` is 0, bit-equal elsewhere.

    ``face`` (3, R, R) float32 in [-1, 1]; ``matrix`` (2, 3) frame to canvas pixels; ``keep_mask`` (1, R, R) float32,
    1 = keep. ``smoother`` steadies the colour over the frames of a ``shot``. See ``FacePaster.blend`` for the rest.
    """
    paster = FacePaster(keep_mask, settings)
    patch = paster.prepare(frame, face, matrix)
    colour = NEUTRAL if patch is None else patch.colour
    if smoother is not None and patch is not None:
        colour = smoother.next(colour, shot)
    return paster.blend(frame, patch, colour, strength, protect)


def _compare(pixels: np.ndarray, original: np.ndarray, ring: np.ndarray) -> ColourFit:
    """Colour fit of the ring's pixels, details blurred away; (h, w, 3) float32, (h, w, 3) uint8, (h, w) 0 or 1."""
    side = 2 * round(RING_BLUR * ring.shape[1] / 2) + 1
    rows, columns = np.nonzero(ring)
    step = max(1, len(rows) // RING_SAMPLES)
    rows, columns = rows[::step], columns[::step]
    generated = cv2.blur(pixels, (side, side))[rows, columns]
    return fit_colour(generated, cv2.blur(original, (side, side))[rows, columns].astype(np.float32))

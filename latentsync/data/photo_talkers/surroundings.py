"""Another background than the photograph's: portraits have plain ones, so what is not the person can be told by color.

The cover of the person is a matte: where hair and background mix, the mixture changes as if the background behind the
hair had changed.
"""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.photo_talkers.canonical import Face
from latentsync.data.talkers.raster import blur, smoothstep
from latentsync.data.talkers.shading import make_light
from latentsync.data.talkers.surroundings import paint_room

_WORK = 40.0  # pixels per face unit at which the background is looked for
_EDGE = 0.12  # of the canvas' width: the bands at its sides that show background, in face units
_ABOVE_SHOULDERS = 0.6  # height down to which they certainly do
_ALIKE = 30.0  # grey levels within which a color belongs to the background
_MATTE = (9.0, 48.0)  # distance from the background's color: from all background to all person
_RIM = 0.14  # face units round the background in which it may shine through hair
_LEAST = 0.12  # share of the canvas that is background, else the photograph keeps its own
_KEPT, _RECOLORED = 0.35, 0.35  # share of the clips with the photograph's own background, and with it in another color


class Surroundings:
    """What is behind the person of a photograph; ``found`` tells whether it is plain enough to be changed.

    ``open_to_view`` (H, W) float32 in [0, 1]: share of the background in each pixel of the canvas.
    """

    def __init__(self, face: Face) -> None:
        grid = face.grid
        ratio = _WORK / grid.scale
        small = cv2.resize(face.texture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA).astype(np.float32)
        person = np.zeros(small.shape[:2], np.uint8)
        oval = (face.marks.oval - (grid.left, grid.top)) * _WORK
        cv2.fillPoly(person, [np.round(oval).astype(np.int32)], 1)
        plate, open_area = _background(small, person, round((_ABOVE_SHOULDERS - grid.top) * _WORK))
        self.found = bool(open_area.mean() > _LEAST)
        size = (grid.width, grid.height)
        self._plate = cv2.resize(plate, size, interpolation=cv2.INTER_LINEAR)
        rim = cv2.dilate(open_area, np.ones((3, 3), np.uint8), iterations=round(_RIM * _WORK)) * (1 - person)
        near = cv2.resize(blur(rim.astype(np.float32), 1.5), size, interpolation=cv2.INTER_LINEAR)
        away = np.abs(face.texture.astype(np.float32) - self._plate).max(axis=-1)
        self.open_to_view = ((1 - smoothstep(*_MATTE, away)) * near).astype(np.float32)

    def another(self, rng: np.random.Generator) -> np.ndarray | None:
        """Another background (H, W, 3) uint8 on the face's canvas; None where the photograph keeps its own."""
        choice = rng.random()
        if not self.found or choice < _KEPT:
            return None
        height, width = self.open_to_view.shape
        if choice < _KEPT + _RECOLORED:
            color = rng.uniform(25, 235) * np.exp(rng.normal(0, 0.18, 3))
            other = self._plate * (np.clip(color, 5, 250) / np.maximum(self._plate.mean(axis=(0, 1)), 20))
        else:
            room = paint_room(rng, width // 2, height // 2, make_light(rng))
            other = cv2.resize(blur(room.astype(np.float32), rng.uniform(0.02, 0.06) * _WORK), (width, height))
        return np.clip(other, 0, 255).astype(np.uint8)

    def person(self, texture: np.ndarray) -> np.ndarray:
        """What the person adds to a black background: the texture (H, W, 3) uint8 without the light of its own."""
        added = texture - self.open_to_view[..., None] * self._plate
        return np.clip(added + 0.5, 0, 255).astype(np.uint8)


def _background(small: np.ndarray, person: np.ndarray, shoulders: int) -> tuple[np.ndarray, np.ndarray]:
    """Of an image (h, w, 3) float32: color of what is behind the person, everywhere, and where it is seen (0 or 1).

    ``person`` (h, w): 1 where it cannot be; ``shoulders``: row down to which both sides show it.
    """
    height, width = person.shape
    band = max(2, round(_EDGE * _WORK))
    rows = np.minimum(np.arange(height), shoulders)
    bands = small[:, :band], small[:, -band:]
    left, right = (blur(side.mean(axis=1, keepdims=True), 6.0)[rows] for side in bands)
    share = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    plate = left * (1 - share) + right * share
    for _ in range(2):
        alike = ((np.abs(small - plate).max(axis=-1) < _ALIKE) & (person == 0)).astype(np.uint8)
        alike = cv2.morphologyEx(alike, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, labels = cv2.connectedComponents(alike)
        seeds = np.concatenate([labels[:shoulders, 0], labels[:shoulders, -1], labels[0]])
        open_area = np.isin(labels, np.unique(seeds[seeds > 0])).astype(np.uint8)
        weight = blur(open_area.astype(np.float32), 0.22 * _WORK)[..., None]
        local = blur(small * open_area[..., None], 0.22 * _WORK) / np.maximum(weight, 1e-3)
        plate = plate + (local - plate) * smoothstep(0.02, 0.25, weight)
    return plate.astype(np.float32), open_area

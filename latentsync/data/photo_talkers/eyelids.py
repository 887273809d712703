"""Blinks: the skin above an eye is drawn down over it."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.data.photo_talkers.canonical import Face
from latentsync.data.talkers.raster import blur, smoothstep

_FOLD = 0.09  # above the edge of the lid: skin from here on is stretched
_LASHES = 0.03  # above the edge of the lid: what is not stretched
_BROW = 0.075  # half the thickness of a brow: its hair stays where it is
_SHUT = 0.94  # share of the way that the upper lid goes; the lower one comes to meet it
_BESIDE = 0.05  # of a corner, where the lid begins to move
_UNDER = 0.10  # share of the light that a lid keeps from the eye right below it


class Eyelids:
    """The lids of one face."""

    def __init__(self, face: Face) -> None:
        self._eyes = [_Eye(face, side) for side in (0, 1)]

    def draw(self, texture: np.ndarray, closure: float) -> np.ndarray:
        """The texture (H, W, 3) uint8 on the face's canvas with its eyes shut by ``closure`` (0 to 1)."""
        if closure < 0.01:
            return texture
        result = texture.copy()
        for eye in self._eyes:
            eye.draw(texture, result, closure)
        return result


class _Eye:
    def __init__(self, face: Face, side: int) -> None:
        upper, lower = face.marks.lids[side]
        self._grid = face.grid
        brow = face.marks.landmarks[17:22] if side == 0 else face.marks.landmarks[22:27]
        brow = brow[np.argsort(brow[:, 0])]
        ends = upper[0, 0] - _BESIDE, upper[-1, 0] + _BESIDE
        top = float(upper[:, 1].min()) - 0.20
        self._rows, self._columns, patch = face.grid.part(ends[0], top, ends[1], float(lower[:, 1].max()) + 0.08)
        x, y = patch.axes()
        self._x, self._y = x, y
        self._upper = np.interp(x[0], upper[:, 0], upper[:, 1]).astype(np.float32)
        self._lower = np.interp(x[0], lower[:, 0], lower[:, 1]).astype(np.float32)
        inside = smoothstep(0, 0.10, np.minimum(x[0] - ends[0], ends[1] - x[0]))
        under_brow = np.interp(x[0], brow[:, 0], brow[:, 1]) + _BROW
        skin = np.clip(self._upper - _LASHES - under_brow, 0.02, _FOLD)
        self._fold = (self._upper - _LASHES - 0.01 - blur(skin[None], 0.05 * patch.scale)[0] * inside).astype(
            np.float32
        )

    def draw(self, texture: np.ndarray, result: np.ndarray, closure: float) -> None:
        way = self._lower - self._upper
        edge = self._upper + np.float32(_SHUT * closure) * way
        lashes = edge - np.float32(_LASHES)
        stretched = (self._upper - np.float32(_LASHES) - self._fold) / np.maximum(lashes - self._fold, 1e-3)
        rows = np.where(self._y < lashes, self._fold + (self._y - self._fold) * stretched, self._y - edge + self._upper)
        rows = np.where(self._y < self._fold, self._y, rows)
        grid = self._grid
        to_x = np.broadcast_to((self._x - grid.left) * grid.scale, rows.shape).astype(np.float32)
        lid = cv2.remap(texture, to_x, ((rows - grid.top) * grid.scale).astype(np.float32), cv2.INTER_LINEAR)
        cover = np.clip((edge - self._y) * np.float32(grid.scale) + 0.5, 0, 1)
        patch = result[self._rows, self._columns]
        shade = 1 - np.float32(_UNDER * closure) * smoothstep(0.06, 0.0, self._y - edge)
        eye = patch.astype(np.float32) * shade[..., None]
        patch[:] = np.clip(eye + (lid - eye) * cover[..., None] + 0.5, 0, 255).astype(np.uint8)


def closed_lids(face: Face, closure: np.ndarray) -> np.ndarray:
    """(N, 68, 2) landmarks of the photograph with the upper lids as low as ``closure`` (N,) has them."""
    points = np.repeat(face.marks.landmarks[None], len(closure), axis=0)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        way = face.marks.landmarks[lower] - face.marks.landmarks[upper]
        points[:, upper] += _SHUT * closure[:, None] * way
    return points

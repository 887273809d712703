"""How the photographed head moves: a relief of the face is turned, the hair goes with it, neck and shoulders follow
less, and what is behind stays. One smooth field for all of it, so nothing tears.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from latentsync.data.photo_talkers.canonical import Face
from latentsync.data.talkers.pose import Pose, PoseTrack, drift
from latentsync.data.talkers.raster import Grid, blur, smoothstep

_CELLS = 16.0  # cells of the fields per face unit
_NODE = 8  # pixels of a frame between points whose source is computed
_PIVOT = np.array((0.0, 0.75), np.float32)  # about which the head turns: between the ears, and
_PIVOT_DEPTH = 0.55  # so far behind the eyes
_ROUND = 0.55  # how steeply the head falls back outside the face
_DEEPEST, _ROUNDED = -0.55, 0.12  # height of the sides of the head, and how softly the face runs into it: a steeper
# relief would fold over itself when it turns
_HEAD = (1.50, 2.15)  # half width and height of what moves with the head, hair included
_BODY_FOLLOWS = 0.5  # share of the head's movement that the shoulders make
_MOST_YAW = 0.30  # rad: beyond it the sides of the head would be seen, which the photograph does not show
FURTHEST_TURN = np.radians(25)  # that a clip may ask for
_ROUNDS = 6  # of the inversion; each divides its error by about five


class HeadField:
    """What of one photograph moves how far."""

    def __init__(self, face: Face) -> None:
        area = face.grid
        right, bottom = area.left + area.width / area.scale, area.top + area.height / area.scale
        self.grid = Grid.covering(area.left, area.top, right, bottom, _CELLS)
        x, y = self.grid.axes()
        depth = relief(face, self.grid)
        distance = np.hypot(x / _HEAD[0], (y + 0.1) / _HEAD[1])
        neck = smoothstep(face.shape.chin_y + 1.0, face.shape.chin_y + 0.1, y)
        head = smoothstep(1.55, 0.98, distance) * neck
        body = smoothstep(face.shape.chin_y - 0.3, face.shape.chin_y + 0.7, y) * np.ones_like(x)
        self._fields = np.dstack([depth + _PIVOT_DEPTH, head, body]).astype(np.float32)
        self.depth = depth

    def displaced(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """(..., 2) float32 movement of points of the photograph, face units; ``pose`` but for its place and size."""
        at = self.grid.pixels(points).astype(np.float32)
        flat = at.reshape(1, -1, 2)
        found = cv2.remap(self._fields, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        depth, head, body = np.moveaxis(found.reshape(*at.shape[:-1], 3), -1, 0)
        x, y = points[..., 0] - _PIVOT[0], points[..., 1] - _PIVOT[1]
        sine, cosine = np.sin([pose.yaw, pose.pitch, pose.roll]), np.cos([pose.yaw, pose.pitch, pose.roll])
        turned_x = x * cosine[0] + depth * sine[0]
        turned_y = y * cosine[1] + depth * sine[1]
        new_x = cosine[2] * turned_x - sine[2] * turned_y
        new_y = sine[2] * turned_x + cosine[2] * turned_y
        follows = (1 - head) * body * _BODY_FOLLOWS
        move_x = head * (new_x * pose.scale - x + pose.x) + follows * pose.x
        move_y = head * (new_y * pose.scale - y + pose.y) + follows * pose.y
        return np.stack([move_x, move_y], axis=-1).astype(np.float32)


def relief(face: Face, grid: Grid) -> np.ndarray:
    """(H, W) height towards the camera over the plane of the eyes, face units; defined everywhere."""
    surface = face.marks.surface
    eyes = surface[np.argsort(np.hypot(np.abs(surface[:, 0]) - 0.5, surface[:, 1]))[:12], 2].mean()
    x, y = grid.axes()
    at = np.stack(np.broadcast_arrays(x, y), axis=-1)
    inside = LinearNDInterpolator(surface[:, :2], surface[:, 2])(at)
    near = NearestNDInterpolator(surface[:, :2], surface[:, 2])(at)
    away = cv2.distanceTransform(np.isnan(inside).astype(np.uint8), cv2.DIST_L2, 5) / grid.scale
    outside = near - _ROUND * np.minimum(away, 1.2)
    height = np.where(np.isnan(inside), outside, inside) - eyes
    height = _DEEPEST + _ROUNDED * np.logaddexp(0, (height - _DEEPEST) / _ROUNDED)
    return blur(height.astype(np.float32), 0.06 * grid.scale)


class Framing:
    """Where the photograph lies in the frames: ``unit`` pixels per face unit, the eyes' middle at ``centre``."""

    def __init__(self, field: HeadField, face: Face, size: tuple[int, int], unit: float, centre: np.ndarray) -> None:
        self._field, self._area, self._size = field, face.grid, size
        self.unit, self.centre = unit, np.asarray(centre, np.float32)
        columns, rows = (-(-length // _NODE) + 3 for length in size)
        x, y = np.meshgrid(np.arange(columns) - 1, np.arange(rows) - 1)
        self._nodes = np.stack([x, y], axis=-1).astype(np.float32) * _NODE

    def to_frame(self, points: np.ndarray, pose: Pose, sway: np.ndarray) -> np.ndarray:
        """(..., 2) face units of the photograph -> pixels of the frame; ``sway`` (2,) px is the camera's."""
        moved = points + self._field.displaced(np.asarray(points, np.float32), pose)
        return moved * self.unit + self.centre + sway

    def draw(self, texture: np.ndarray, pose: Pose, sway: np.ndarray) -> np.ndarray:
        """The frame (height, width, C) uint8 that shows ``texture`` (H, W, C) with its head turned."""
        wanted = (self._nodes - self.centre - sway.astype(np.float32)) / np.float32(self.unit)
        source = wanted
        for _ in range(_ROUNDS):
            source = wanted - self._field.displaced(source, pose)
        source = self._area.pixels(source).astype(np.float32)
        step = np.array([[1 / _NODE, 0, 1], [0, 1 / _NODE, 1]])
        maps = cv2.warpAffine(source, step, self._size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        to_x, to_y = cv2.split(maps)
        return cv2.remap(texture, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def behind(self, background: np.ndarray, sway: np.ndarray) -> np.ndarray:
        """The frame (height, width, 3) uint8 that shows a background on the canvas: it moves with the camera only."""
        area = self._area
        left, top = (np.array((area.left, area.top)) * self.unit + self.centre + sway).tolist()
        scale = area.scale / self.unit
        step = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(background, step, self._size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def head_motion(rng: np.random.Generator, times: np.ndarray) -> PoseTrack:
    """A head that listens to itself: small slow turns; ``x`` and ``y`` in face units, ``scale`` about 1."""
    liveliness = rng.uniform(0.4, 1.25)
    tilt, turn, nod, aside, rise, nearer = (drift(rng, times) * liveliness for _ in range(6))
    turned = 0.12 if rng.random() < 0.3 else 0.05  # some speak to somebody beside the camera
    lean, look, bow = rng.normal(0, 0.035), rng.normal(0, turned), rng.normal(0, 0.03)
    return PoseTrack(
        x=0.05 * aside + 0.9 * np.sin(0.03 * tilt),
        y=0.03 * rise,
        scale=1 + 0.012 * nearer,
        roll=np.clip(lean + 0.035 * tilt, -0.16, 0.16),
        yaw=np.clip(look + 0.075 * turn, -_MOST_YAW, _MOST_YAW),
        pitch=np.clip(bow + 0.04 * nod, -0.14, 0.14),
    )

"""How the head is held: slow natural movement, blinks and gaze, and the turning of points and drawings.

The head turns like a lathe-worked post of radius ``POST`` whose front carries the flat drawing of the face: sideways
turning runs the drawing round the post, nodding slides it by its depth. The outline stays, as that of a post does; what
stands out (nose, chin) shifts further by its own relief. Good for +-25 degrees; beyond, the face slips out of sight.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from latentsync.data.talkers.raster import smoothstep

POST = 1.22  # radius of the head, face units
_CHIN_DEPTH = 0.45  # how far in front of the post's axis the outline of the chin lies
_PIVOT_DEPTH = 0.75 * POST  # depth that nodding leaves in place
_BLINK_CLOSING, _BLINK_OPENING = 0.09, 0.17  # s


@dataclass(frozen=True)
class Pose:
    """Where the head is in one frame."""

    x: float  # of the point midway between the pupils, frame pixels
    y: float
    scale: float  # frame pixels per face unit
    roll: float  # rad, clockwise in the frame
    yaw: float  # rad, > 0: nose to the right of the frame
    pitch: float  # rad, > 0: nose down


@dataclass(frozen=True)
class PoseTrack:
    """Where the head is in each of N frames: fields (N,) as in ``Pose``."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    roll: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray

    def at(self, index: int) -> Pose:
        """In frame ``index``."""
        return Pose(*(float(getattr(self, each.name)[index]) for each in fields(self)))


def drift(rng: np.random.Generator, times: np.ndarray, slowest: float = 0.07, fastest: float = 0.7) -> np.ndarray:
    """Smooth wandering of deviation near 1 at ``times`` (s), of frequencies between ``slowest`` and ``fastest`` Hz."""
    frequency = np.exp(rng.uniform(np.log(slowest), np.log(fastest), 6))
    weight = frequency**-0.6
    phase = rng.uniform(0, 2 * np.pi, 6)
    waves = np.sin(2 * np.pi * frequency * np.asarray(times)[:, None] + phase)
    return waves @ weight / np.sqrt((weight**2).sum() / 2)


def blinks(rng: np.random.Generator, times: np.ndarray, duration: float) -> np.ndarray:
    """Closure of the lids at ``times``, 0 open to 1 shut; one blink every 2 to 5 s."""
    closure = np.zeros(len(times))
    start = rng.uniform(0.3, 3.0)
    while start < duration:
        since = times - start
        closing = np.clip(since / _BLINK_CLOSING, 0, 1)
        opening = np.clip((since - _BLINK_CLOSING - 0.03) / _BLINK_OPENING, 0, 1)
        closure = np.maximum(closure, np.sin(closing * np.pi / 2) * (np.cos(opening * np.pi) + 1) / 2)
        start += rng.uniform(2.0, 5.0)
    return closure


def gaze(rng: np.random.Generator, times: np.ndarray, duration: float) -> np.ndarray:
    """(N, 2) direction of the eyes, mostly at the camera, with jumps of 60 ms between fixations."""
    count = int(duration / 0.9) + 2
    starts = np.cumsum(rng.uniform(0.4, 2.0, count))
    targets = rng.normal(0, 0.30, (count + 1, 2)) * (rng.random(count + 1) < 0.6)[:, None]
    index = np.searchsorted(starts, times)
    since = np.where(index > 0, times - starts[np.maximum(index - 1, 0)], 1.0)
    share = np.clip(since / 0.06, 0, 1)[:, None]
    return np.clip(targets[np.maximum(index - 1, 0)] * (1 - share) + targets[index] * share, -1, 1)


def turn(points: np.ndarray, relief: np.ndarray, pose: Pose | PoseTrack) -> np.ndarray:
    """Frontal points (..., M, 2) in face units -> frame pixels. ``relief`` (..., M) is their height over the post."""
    yaw, pitch, roll, scale = (np.asarray(v)[..., None] for v in (pose.yaw, pose.pitch, pose.roll, pose.scale))
    angle = np.arcsin(np.clip(points[..., 0] / POST, -1, 1)) + yaw
    x = POST * np.sin(np.clip(angle, -np.pi / 2, np.pi / 2)) + relief * np.sin(yaw)
    depth = POST * np.cos(angle) + relief * np.cos(yaw) - _PIVOT_DEPTH
    y = points[..., 1] * np.cos(pitch) + depth * np.sin(pitch)
    return place(np.stack([x, y], axis=-1), pose)


def turn_outline(points: np.ndarray, pose: Pose | PoseTrack) -> np.ndarray:
    """Points of the outline (..., M, 2) in face units -> frame pixels: only the chin follows the nose a little."""
    x, y = points[..., 0], points[..., 1]
    yaw, pitch = (np.asarray(v)[..., None] for v in (pose.yaw, pose.pitch))
    moved = y
    for _ in range(6):
        moved = y + _chin_depth(moved) * np.sin(pitch)
    return place(np.stack([x + _chin_depth(moved) * np.sin(yaw), moved], axis=-1), pose)


def unturn_outline(x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Where on the drawing the cover of a point of the turned head comes from: inverse of ``turn_outline``."""
    depth = _chin_depth(y).astype(np.float32)
    return x - depth * np.float32(np.sin(pose.yaw)), y - depth * np.float32(np.sin(pose.pitch))


def _chin_depth(y: np.ndarray) -> np.ndarray:
    return _CHIN_DEPTH * smoothstep(0.2, 1.6, y)


def place(points: np.ndarray, pose: Pose | PoseTrack) -> np.ndarray:
    """Points (..., M, 2) of the turned head in face units -> frame pixels: roll, size and position only."""
    roll, scale = np.asarray(pose.roll)[..., None], np.asarray(pose.scale)[..., None]
    cosine, sine = np.cos(roll) * scale, np.sin(roll) * scale
    x = cosine * points[..., 0] - sine * points[..., 1] + np.asarray(pose.x)[..., None]
    y = sine * points[..., 0] + cosine * points[..., 1] + np.asarray(pose.y)[..., None]
    return np.stack([x, y], axis=-1)


def unturn(x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Where on the plain post a point of the turned head comes from; float32 face units. See ``shift_by_relief``."""
    sine, cosine = np.float32(np.sin(pose.yaw)), np.float32(np.cos(pose.yaw))
    across = np.clip(x * np.float32(1 / POST), -1, 1)
    depth = np.sqrt(1 - across * across)
    # sin(angle - yaw), and where it is not visible any more, the edge
    source = across * cosine - depth * sine
    source[depth * cosine + across * sine < 0] = -np.sign(pose.yaw)
    source += x * np.float32(1 / POST) - across  # beyond the post: as at its edge
    nod = np.float32(np.tan(pose.pitch) * POST)
    return source * np.float32(POST), y * np.float32(1 / np.cos(pose.pitch)) - depth * nod + nod * np.float32(
        _PIVOT_DEPTH / POST
    )


def shift_by_relief(x: np.ndarray, y: np.ndarray, relief: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The result of ``unturn`` for what stands out by ``relief``: with it the inverse of ``turn``, to first order."""
    aside, down = np.float32(np.sin(pose.yaw)), np.float32(np.cos(pose.yaw) * np.tan(pose.pitch))
    return x - relief * aside, y - relief * down

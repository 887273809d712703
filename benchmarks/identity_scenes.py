"""Scenes of drawn people who cross, hide, leave, come back and change shots, with the truth about who is where.

People are drawn once for each shot, in a few poses, and laid into the frames where they stand: a scene of 14 seconds
takes about as long to draw as one second of a talker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from latentsync.data.talkers import pose as posing
from latentsync.data.talkers import skin
from latentsync.data.talkers.geometry import Articulation, landmarks
from latentsync.data.talkers.head import Head, draw_layer
from latentsync.data.talkers.identity import Identity, make_identity
from latentsync.data.talkers.pose import Pose, PoseTrack
from latentsync.data.talkers.shading import Light, make_light
from latentsync.data.talkers.surroundings import paint_body, paint_room
from latentsync.face.detector import Detection
from latentsync.types import ArrayFrame, Frame

FPS = 25
WIDTH, HEIGHT = 480, 270
POSES = 5  # of one person in one shot
HIDDEN = 75  # frames that somebody is gone
DETECTED = 0.8  # share of a face that must be free to be found
NOISE = 0.012  # of landmarks, face widths
FIRST_SEED = 70_000_000  # far from the seeds of other clips
KINDS = ("cross", "hide", "leave", "talk")
_CANVAS = (-2.6, -2.8, 2.6, 6.0)  # of a drawn person, face units


@dataclass(frozen=True, slots=True)
class Sprite:
    """A person in one pose: ``color`` (H, W, 3) and ``cover`` (H, W, 1) float32 0 to 1, and ``landmarks`` (68, 2)
    float32 from the middle of the eyes, which lies at ``origin`` (x, y) of the image."""

    color: np.ndarray
    cover: np.ndarray
    landmarks: np.ndarray
    origin: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """A person in a shot: where the middle of the eyes is in each frame, (n, 2), NaN = not there, and how they look."""

    person: int
    path: np.ndarray
    sprites: tuple[Sprite, ...]
    poses: np.ndarray  # (n,) numbers of the sprites

    def landmarks(self, index: int) -> np.ndarray:
        """(68, 2) float32 frame pixels."""
        return self.sprites[self.poses[index]].landmarks + self.path[index].astype(np.float32)


@dataclass(frozen=True, slots=True)
class SceneShot:
    """``room`` (H, W, 3) uint8; ``cast`` from the back to the front."""

    room: np.ndarray
    cast: tuple[Placed, ...]
    length: int

    def draw(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        frame = self.room.copy()
        for placed in self.cast:
            if np.isfinite(placed.path[index, 0]):
                _lay(frame, placed.sprites[placed.poses[index]], placed.path[index])
        return frame

    def visible(self, index: int) -> dict[int, np.ndarray]:
        """Person -> landmarks (68, 2), of those whose face is in the frame and not behind somebody."""
        found = {}
        for number, placed in enumerate(self.cast):
            if not np.isfinite(placed.path[index, 0]):
                continue
            points = placed.landmarks(index)
            low, high = points.min(axis=0), points.max(axis=0)
            if (low < 0).any() or (high > (WIDTH - 1, HEIGHT - 1)).any():
                continue
            if self._free(self.cast[number + 1 :], points, index) >= DETECTED:
                found[placed.person] = points
        return found

    def _free(self, others: tuple[Placed, ...], points: np.ndarray, index: int) -> float:
        covered = np.zeros(len(points), bool)
        for other in others:
            if np.isfinite(other.path[index, 0]):
                sprite = other.sprites[other.poses[index]]
                at = np.rint(points - other.path[index] + sprite.origin).astype(int)
                inside = ((at >= 0) & (at < sprite.cover.shape[1::-1])).all(axis=1)
                covered[inside] |= sprite.cover[at[inside, 1], at[inside, 0], 0] > 0.5
        return float(1 - covered.mean())


class Scene:
    """The scene of that seed: 2 to 4 people, four or five shots, or the first ``shots`` of them."""

    def __init__(self, seed: int, people: int | None = None, shots: int | None = None) -> None:
        self._rng = rng = np.random.default_rng([FIRST_SEED, seed])
        self.people = people or int(rng.integers(2, 5))
        self._cast = [make_identity(FIRST_SEED + 10 * seed + k) for k in range(self.people)]
        kinds = [str(kind) for kind in rng.permutation(KINDS)]
        self.kinds = (["talk", *kinds] if kinds[0] != "talk" else kinds)[:shots]
        self.shots = [self._shot(kind) for kind in self.kinds]
        self.starts = np.cumsum([0, *(shot.length for shot in self.shots)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def frames(self) -> Iterator[Frame]:
        """All frames; each is drawn when it is asked for."""
        for shot, start in zip(self.shots, self.starts, strict=False):
            for index in range(shot.length):
                number = int(start) + index
                yield ArrayFrame(number, Fraction(number, FPS), shot.draw(index))

    def truth(self, number: int) -> dict[int, np.ndarray]:
        """Person -> landmarks (68, 2) of the faces that can be seen in a frame."""
        at = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.shots[at].visible(number - int(self.starts[at]))

    def detections(self) -> dict[int, list[Detection]]:
        """What a detector finds: the truth with noise, in no order, with no names."""
        rng = np.random.default_rng([FIRST_SEED, 1])
        found: dict[int, list[Detection]] = {}
        for number in range(len(self)):
            faces = []
            for points in self.truth(number).values():
                width = float(np.ptp(points[:, 0]))
                seen = (points + rng.normal(0, NOISE * width, points.shape)).astype(np.float32)
                faces.append(Detection(np.concatenate([seen.min(0), seen.max(0)]), seen, 0.9))
            found[number] = [faces[k] for k in rng.permutation(len(faces))]
        return found

    def _shot(self, kind: str) -> SceneShot:
        rng = self._rng
        length = 60 if kind == "talk" else HIDDEN + 75
        light = make_light(rng)
        scale = float(rng.uniform(18, 24))
        present = list(rng.permutation(self.people))
        if kind == "talk" and self.people > 2:
            present = present[: int(rng.integers(2, self.people + 1))]
        places = rng.permutation(np.linspace(0.14, 0.86, len(present))) * WIDTH
        paths = []
        for place in places:
            drift = [posing.drift(rng, np.arange(length) / FPS) for _ in "xy"]
            paths.append(np.stack([place + 3 * drift[0], HEIGHT * 0.42 + 2 * drift[1]], axis=-1))
        _move(kind, paths, rng, length)
        cast = [
            Placed(int(who), path, self._sprites(self._cast[who], light, scale, rng), _pose_numbers(rng, length))
            for who, path in zip(present, paths, strict=True)
        ]
        room = paint_room(np.random.default_rng(int(rng.integers(1 << 30))), WIDTH, HEIGHT, light)
        return SceneShot(room, tuple(cast), length)

    def _sprites(self, identity: Identity, light: Light, scale: float, rng: np.random.Generator) -> tuple[Sprite, ...]:
        head, body = Head(identity, light, scale * 1.12), paint_body(identity, light, scale * 1.12)
        left, top, right, bottom = (round(scale * side) for side in _CANVAS)
        made = []
        for _ in range(POSES):
            roll, yaw, pitch = rng.normal(0, (0.05, 0.13, 0.06)).tolist()
            pose = Pose(-left, -top, scale, roll, float(np.clip(yaw, -0.38, 0.38)), pitch)
            opening = float(rng.uniform(0, 0.7))
            mouth = Articulation(*(np.array(value) for value in (opening, 0.3, 0.0, 0.0, 0.0, 0.0)))
            grounds = []
            for level in (0, 255):
                image = np.full((bottom - top, right - left, 3), level, np.uint8)
                head.draw_back(image, pose)
                draw_layer(image, body, Pose(-left, -top, scale, 0.0, 0.0, 0.0))
                head.draw(image, pose, mouth, 0.0, (0.0, 0.0))
                grounds.append(image.astype(np.float32))
            cover = 1 - np.clip((grounds[1] - grounds[0]).mean(axis=-1, keepdims=True) / 255, 0, 1)
            track = PoseTrack(*(np.array([v]) for v in (0.0, 0.0, scale, roll, pose.yaw, pitch)))
            made.append(Sprite(grounds[0], cover, _landmarks(identity, mouth, track), (-left, -top)))
        return tuple(made)


def _landmarks(identity: Identity, mouth: Articulation, track: PoseTrack) -> np.ndarray:
    one = Articulation(*(np.array([getattr(mouth, name)]) for name in mouth.__dataclass_fields__))
    flat = landmarks(identity.shape, one, np.zeros(1))
    points = posing.turn(flat, skin.relief(identity.shape, flat[..., 0], flat[..., 1]), track)
    points[:, :17] = posing.turn_outline(flat[:, :17], track)
    return points[0].astype(np.float32)


def _pose_numbers(rng: np.random.Generator, length: int) -> np.ndarray:
    """(n,): a pose for some frames, then another."""
    numbers = rng.integers(POSES, size=length // 6 + 1)
    return np.repeat(numbers, 6)[:length]


def _move(kind: str, paths: list[np.ndarray], rng: np.random.Generator, length: int) -> None:
    """Change the paths of people who stand, in place. The first two take part."""
    first, second = paths[:2]
    share = np.clip((np.arange(length) - 20) / (length - 40), 0, 1)[:, None]
    if kind == "cross":
        apart = second.mean(axis=0) - first.mean(axis=0)
        first += share * apart
        second -= share * apart
        second[:, 1] += rng.uniform(-4, 4)
    elif kind == "hide":  # goes below the frame's edge, stays there and comes up elsewhere
        first[30 : 30 + HIDDEN] = np.nan
        first[30 + HIDDEN :, 0] += rng.uniform(-20, 20)
    elif kind == "leave":  # while somebody is gone, somebody else takes that place
        place, other = first.mean(axis=0), second.mean(axis=0)
        gone = slice(30, 30 + HIDDEN)
        first[gone] = np.nan
        walk = np.clip((np.arange(length) - 35) / 40, 0, 1)[:, None]
        second += walk * (place - other)
        first[30 + HIDDEN :] += other - place


def _lay(frame: np.ndarray, sprite: Sprite, at: np.ndarray) -> None:
    x, y = (int(v) for v in np.rint(at - sprite.origin))
    height, width = sprite.cover.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, WIDTH), min(y + height, HEIGHT)
    if x0 >= x1 or y0 >= y1:
        return
    part = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    ground = frame[y0:y1, x0:x1]
    mixed = sprite.color[part] + (1 - sprite.cover[part]) * ground
    frame[y0:y1, x0:x1] = np.clip(mixed, 0, 255).astype(np.uint8)

"""What happens in front of the camera: people, how they move, where they stand, and the frames of it.

A scene is decided by its own seed and by the hard cases asked for, never by what is said in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from latentsync.data.talkers import pose as posing
from latentsync.data.talkers import skin
from latentsync.data.talkers.geometry import Articulation, landmarks
from latentsync.data.talkers.head import Head, draw_layer
from latentsync.data.talkers.identity import Identity
from latentsync.data.talkers.pose import Pose, PoseTrack
from latentsync.data.talkers.raster import smoothstep
from latentsync.data.talkers.shading import Light, make_light
from latentsync.data.talkers.surroundings import Layer, paint_body, paint_hand, paint_room, paint_thing

Span = tuple[float, float]  # start and end, s

_FINENESS = 1.12  # pixels of the drawings per pixel of the frame
_PROFILE = np.radians(74)  # yaw of a head turned away
_USABLE = np.radians(35)  # beyond this yaw a face counts as turned away
_EASE = 0.45  # s that turning away, walking off and raising a hand take
_BODY_FOLLOWS = 0.55  # share of the head's sideways movement that the shoulders make


@dataclass(frozen=True)
class Events:
    """The hard cases of one shot, as spans in seconds from its start."""

    absences: tuple[Span, ...] = ()  # the person is out of the frame
    profiles: tuple[Span, ...] = ()  # turned to the side
    turns: tuple[Span, ...] = ()  # turned by the yaw ``turn``, on which the face is still seen
    turn: float = 0.0  # rad, > 0: nose to the right of the frame
    hands: tuple[Span, ...] = ()  # a hand lies before the mouth
    thing: str = ""  # one of ``surroundings.THINGS``
    held: tuple[Span, ...] = ()  # it is held before the mouth


@dataclass(frozen=True)
class Actor:
    """One person over N frames: what is drawn, and the truth about it."""

    identity: Identity
    mouth: Articulation
    pose: PoseTrack
    home: np.ndarray  # (N, 2) where the shoulders belong, frame pixels
    closure: np.ndarray  # (N,) of the lids
    gaze: np.ndarray  # (N, 2)
    hand: np.ndarray  # (N,) 0 none to 1 before the mouth
    thing: str = ""  # one of ``surroundings.THINGS``, or none
    held: np.ndarray | None = None  # (N,) 0 out of the way to 1 before the mouth

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(N, 68, 2) float32 frame pixels."""
        flat = landmarks(self.identity.shape, self.mouth, self.closure)
        height = skin.relief(self.identity.shape, flat[..., 0], flat[..., 1])
        points = posing.turn(flat, height, self.pose)
        points[:, :17] = posing.turn_outline(flat[:, :17], self.pose)
        return points.astype(np.float32)


@dataclass(frozen=True)
class Shot:
    """One uncut piece of video. The last actor stands in front."""

    width: int
    height: int
    light: Light
    room_seed: int
    sway: np.ndarray  # (N, 2) movement of the camera, frame pixels
    actors: tuple[Actor, ...]
    _drawings: list = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.sway)

    def frame(self, index: int) -> np.ndarray:
        """(height, width, 3) uint8."""
        if not self._drawings:
            self._drawings.extend(self._prepare())
        room, cast = self._drawings
        frame = self._room(room, index)
        for actor, (head, body, *before) in zip(self.actors, cast, strict=True):
            pose = actor.pose.at(index)
            shoulders = replace(pose, x=float(actor.home[index, 0]), y=float(actor.home[index, 1]), roll=0.0)
            head.draw_back(frame, pose)
            draw_layer(frame, body, shoulders)
            head.draw(frame, pose, actor.mouth.at(index), float(actor.closure[index]), tuple(actor.gaze[index]))
            for layer, pose in self._before(actor, before, index):
                draw_layer(frame, layer, pose)
        return frame

    def cover(self, index: int) -> np.ndarray:
        """(height, width) uint8: what is drawn before the face of the first actor by a hand or a thing, 255 = all."""
        if not self._drawings:
            self._drawings.extend(self._prepare())
        _, _, *before = self._drawings[1][0]
        cover = np.zeros((self.height, self.width, 3), np.uint8)
        for layer, pose in self._before(self.actors[0], before, index):
            draw_layer(cover, replace(layer, color=np.full_like(layer.color, 255)), pose)
        return cover[..., 0]

    def _before(self, actor: Actor, layers: list[Layer | None], index: int) -> Iterator[tuple[Layer, Pose]]:
        """The hand and the thing as far as they are raised."""
        raised = (actor.hand, actor.held)
        for layer, level in zip(layers, raised, strict=True):
            if layer is not None and level is not None and level[index] > 0:
                nose = actor.landmarks[index, 33]  # not the lips: where a hand lies must not depend on what is said
                yield layer, held_pose(actor.pose.at(index), nose, float(level[index]), self.height)

    def _prepare(self) -> tuple:
        margin = int(np.ceil(np.abs(self.sway).max())) + 2
        rng = np.random.default_rng([self.room_seed, 52])
        room = paint_room(rng, self.width + 2 * margin, self.height + 2 * margin, self.light), margin
        cast = []
        for actor in self.actors:
            scale = float(actor.pose.scale.max()) * _FINENESS
            hand = paint_hand(actor.identity, self.light, scale) if actor.hand.any() else None
            thing = None
            if actor.thing and actor.held is not None and actor.held.any():
                thing = paint_thing(actor.thing, np.random.default_rng([self.room_seed, 54]), self.light, scale)
            body = paint_body(actor.identity, self.light, scale)
            cast.append((Head(actor.identity, self.light, scale), body, hand, thing))
        return room, cast

    def _room(self, room: tuple[np.ndarray, int], index: int) -> np.ndarray:
        image, margin = room
        x, y = self.sway[index]
        if not self.sway.any():
            return image[margin:-margin, margin:-margin].copy()
        matrix = np.array([[1, 0, margin - x], [0, 1, margin - y]])
        return cv2.warpAffine(image, matrix, (self.width, self.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def stage(
    people: list[tuple[Identity, Articulation]],
    times: np.ndarray,
    seed: int,
    size: tuple[int, int],
    events: Events,
    eye_distance: float | None = None,
) -> Shot:
    """A shot of ``people``: the first one talks to the camera, a second one walks through the frame in front.

    ``times`` (N,) s; each mouth is given at them; ``size`` width and height; ``eye_distance`` in pixels, None = chosen.
    """
    rng = np.random.default_rng([seed, 51])
    width, height = size
    light = make_light(rng)
    side = min(width, height)
    unit = float(eye_distance or rng.uniform(0.165, 0.215) * side)
    hand_held = rng.random() < 0.4
    sway = np.stack([posing.drift(rng, times, 0.15, 0.8) for _ in "xy"], axis=-1) * (0.006 * side * hand_held)
    middle = np.array([width * (0.5 + rng.uniform(-0.05, 0.05)), min(height * 0.47, height - 2.3 * unit)])
    middle[1] = max(middle[1] + rng.uniform(-0.02, 0.02) * height, 2.1 * unit) if height > 4.2 * unit else middle[1]
    actors = []
    for number, (identity, mouth) in enumerate(people):
        walk = np.zeros(len(times)) if number == 0 else _walk(times, width + 8 * unit)
        actors.append(
            _act(identity, mouth, times, np.random.default_rng([seed, 53, number]), middle + sway, walk, unit,
                 events if number == 0 else Events(), width)
        )  # fmt: skip
    return Shot(width, height, light, seed, sway, tuple(actors))


def _act(
    identity: Identity, mouth: Articulation, times: np.ndarray, rng: np.random.Generator, middle: np.ndarray,
    walk: np.ndarray, unit: float, events: Events, width: int,
) -> Actor:  # fmt: skip
    seconds = float(times[-1]) + 1
    liveliness = rng.uniform(0.5, 1.3)
    tilt, turn, nod, aside, rise, nearer = (posing.drift(rng, times) * liveliness for _ in range(6))
    roll, yaw, pitch = 0.045 * tilt, 0.12 * turn, 0.055 * nod
    yaw = np.clip(yaw, -0.38, 0.38) + _PROFILE * rng.choice((-1, 1)) * ramp(times, events.profiles)
    yaw = turned(yaw, events.turn, times, events.turns)
    leaving = ramp(times, events.absences) * rng.choice((-1, 1)) * (width / 2 + 4.5 * unit)
    home_x = middle[:, 0] + leaving + walk
    scale = unit * (1 + 0.015 * nearer)
    x = (0.07 * aside + 1.2 * np.sin(roll) + 0.25 * np.sin(np.clip(yaw, -0.5, 0.5))) * unit
    y = middle[:, 1] + (0.035 * rise + 0.15 * np.sin(pitch)) * unit
    shoulders = np.stack([home_x + _BODY_FOLLOWS * x, middle[:, 1] + _BODY_FOLLOWS * (y - middle[:, 1])], axis=-1)
    return Actor(
        identity=identity,
        mouth=mouth,
        pose=PoseTrack(home_x + x, y, scale, roll, yaw, pitch),
        home=shoulders,
        closure=posing.blinks(rng, times, seconds),
        gaze=posing.gaze(rng, times, seconds),
        hand=ramp(times, events.hands),
        thing=events.thing,
        held=ramp(times, events.held),
    )


def ramp(times: np.ndarray, spans: tuple[Span, ...]) -> np.ndarray:
    """(N,) 1 within the spans, rising before and falling after them."""
    level = np.zeros(len(times))
    for start, end in spans:
        level = np.maximum(level, smoothstep(start - _EASE, start, times) * smoothstep(end + _EASE, end, times))
    return level


def turned(yaw: np.ndarray, turn: float, times: np.ndarray, spans: tuple[Span, ...]) -> np.ndarray:
    """(N,) the ``yaw`` of a head that within the spans is turned by ``turn``, and goes there and back; rad."""
    return yaw + (turn - yaw) * ramp(times, spans)


def in_view(actors: tuple[Actor, ...], index: int, size: tuple[int, int]) -> np.ndarray:
    """(N,) bool: the face of actor ``index`` is wholly in the frame, not turned away, not behind somebody."""
    actor = actors[index]
    low, high = actor.landmarks.min(axis=1), actor.landmarks.max(axis=1)
    seen = (low > 0).all(axis=1) & (high < np.array(size) - 1).all(axis=1) & (np.abs(actor.pose.yaw) < _USABLE)
    for other in actors[index + 1 :]:
        apart = np.abs(other.home[:, 0] - actor.pose.x)
        seen &= apart > 3.2 * other.pose.scale
    return seen


def mouth_free(actor: Actor) -> np.ndarray:
    """(N,) bool: no hand or thing before the mouth or on its way there."""
    return (actor.hand == 0) if actor.held is None else (actor.hand == 0) & (actor.held == 0)


def _walk(times: np.ndarray, distance: float) -> np.ndarray:
    share = times / max(float(times[-1]), 1e-6)
    return distance * (share - 0.5)


def held_pose(pose: Pose, nose: np.ndarray, up: float, height: int) -> Pose:
    """Of a hand or a thing that rises from below a frame ``height`` pixels high (``up`` 0) to the mouth (1).

    ``pose`` is the head's, in frame pixels, and ``nose`` (2,) the lower end of its nose.
    """
    below = height + 1.5 * pose.scale
    return replace(pose, x=float(nose[0]), y=float(below + (nose[1] + 0.45 * pose.scale - below) * up), roll=0.12)

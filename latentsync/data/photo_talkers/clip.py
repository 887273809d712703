"""A clip of a photograph that speaks, with the truth about every frame: what ``talkers.clip`` is for drawn people.

Sentence and voice, scene (movement, light, camera) and photograph are independent. Two clips that differ only in
``sentence_seed`` have equal frames, to the last bit, outside ``PhotoClip.speech_region``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import cv2
import numpy as np

from latentsync.data.photo_talkers.camera import Camera, make_look
from latentsync.data.photo_talkers.canonical import FINEST, Face, canonical_face, chin_sink, skin_color
from latentsync.data.photo_talkers.eyelids import Eyelids, closed_lids
from latentsync.data.photo_talkers.lower_face import LowerFace, edges_at, half_widths
from latentsync.data.photo_talkers.motion import Framing, HeadField, head_motion
from latentsync.data.photo_talkers.mouth import SpeakingFace
from latentsync.data.photo_talkers.portrait import Portrait
from latentsync.data.photo_talkers.surroundings import Surroundings
from latentsync.data.talkers.clip import PersonTruth, Spoken, SpokenClip, TalkerOptions, frame_count, speak
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.head import draw_layer
from latentsync.data.talkers.pose import PoseTrack, blinks, drift
from latentsync.data.talkers.scene import held_pose, ramp, turned
from latentsync.data.talkers.surroundings import HAND, paint_before

_UNIT = (0.225, 0.262)  # pixels between the pupils over the shorter side of the frame
_FINENESS = 1.3  # pixels of the canvas per pixel of a frame
_EYES_AT = (0.36, 0.40)  # height of the eyes in the frame
_REGION_MARGIN = 0.09  # face units: what blurring carries beyond the part that speech changes


@dataclass(frozen=True)
class PhotoScene:
    """Movement, light and camera over N frames; nothing of it depends on what is said.

    ``before``: a hand or things that come before the mouth, by name, and how far each is raised, (N,) from 0 to 1.
    """

    pose: PoseTrack
    closure: np.ndarray  # (N,) of the lids
    sway: np.ndarray  # (N, 2) of the camera, pixels
    unit: float  # pixels per face unit
    centre: tuple[float, float]
    seed: int
    before: tuple[tuple[str, np.ndarray], ...] = ()

    @cached_property
    def mouth_free(self) -> np.ndarray:
        """(N,) bool: nothing before the mouth or on its way there."""
        free = np.ones(len(self.closure), bool)
        for _, level in self.before:
            free &= level == 0
        return free


@dataclass(frozen=True)
class PhotoClip(SpokenClip):
    """Somebody on a photograph; ``identity_seed`` is of voice and teeth."""

    mouth: Articulation  # fields (N,)
    face: Face
    scene: PhotoScene

    @property
    def n_frames(self) -> int:
        """See ``SpokenClip``."""
        return len(self.mouth.opening)

    @cached_property
    def people(self) -> tuple[PersonTruth, ...]:
        """The one person."""
        shape, scene = self.face.shape, self.scene
        points = self.landmarks
        inside = ((points > 0) & (points < (self.width - 1, self.height - 1))).all(axis=(1, 2))
        opening = (self.mouth.opening * shape.max_opening / shape.height).astype(np.float32)
        yaw = scene.pose.yaw.astype(np.float32)
        return (PersonTruth(points, opening, np.asarray(inside), scene.mouth_free, yaw),)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """See ``SpokenClip``."""
        flat = speaking_landmarks(self.face, self.mouth, self.scene.closure)
        framing = self._drawing.framing
        pairs = zip(flat, self.scene.sway, strict=True)
        return np.stack(
            [framing.to_frame(points, self.scene.pose.at(k), sway) for k, (points, sway) in enumerate(pairs)]
        ).astype(np.float32)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """See ``SpokenClip``."""
        for index in range(start, self.n_frames if stop is None else min(stop, self.n_frames)):
            yield self._drawing.frame(self, index)

    def speech_region(self, index: int) -> np.ndarray:
        """See ``SpokenClip``."""
        patch = self._drawing.speaking.lower.patch
        left, top = patch.left - _REGION_MARGIN, patch.top - _REGION_MARGIN
        right = patch.left + patch.width / patch.scale + _REGION_MARGIN
        bottom = patch.top + patch.height / patch.scale + _REGION_MARGIN
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        share = np.linspace(0, 1, 12, endpoint=False)[None, :, None]
        edge = (corners[:, None] * (1 - share) + np.roll(corners, -1, axis=0)[:, None] * share).reshape(-1, 2)
        moved = self._drawing.framing.to_frame(edge, self.scene.pose.at(index), self.scene.sway[index])
        return cv2.convexHull(moved.astype(np.float32))[:, 0]

    @cached_property
    def _drawing(self) -> _Drawing:
        return _Drawing(self)


class _Drawing:
    """What is computed once for the frames of a clip."""

    def __init__(self, clip: PhotoClip) -> None:
        face, scene, size = clip.face, clip.scene, (clip.width, clip.height)
        field = HeadField(face)
        self.framing = Framing(field, face, size, scene.unit, np.array(scene.centre))
        rng = np.random.default_rng([scene.seed, 72])
        self._camera = Camera(make_look(rng), size, rng)
        surroundings = Surroundings(face)
        self._background = surroundings.another(np.random.default_rng([scene.seed, 76]))
        texture = face.texture if self._background is None else surroundings.person(face.texture)
        self._texture, mouth_light = self._camera.light(texture, face, field)
        if self._background is not None:
            open_to_view = (surroundings.open_to_view * 255 + 0.5).astype(np.uint8)
            self._texture = np.dstack([self._texture, open_to_view])
        teeth = np.random.default_rng([clip.identity_seed, 73])
        self.speaking = SpeakingFace(face, teeth, mouth_light)
        self._lids = Eyelids(face)
        scale = scene.unit * float(scene.pose.scale.max())
        skin = skin_color(self._texture, face.marks, face.grid)
        self._before = [(paint_before(name, scene.seed, skin, scale), up) for name, up in scene.before]

    def frame(self, clip: PhotoClip, index: int) -> np.ndarray:
        texture = self._lids.draw(self._texture, float(clip.scene.closure[index]))
        spoken = self.speaking.draw(texture, clip.mouth.at(index))
        frame = self.framing.draw(spoken, clip.scene.pose.at(index), clip.scene.sway[index])
        if self._background is not None:
            behind = self.framing.behind(self._background, clip.scene.sway[index])
            shining = cv2.multiply(behind, cv2.merge([frame[..., 3]] * 3), scale=1 / 255)
            frame = cv2.add(np.ascontiguousarray(frame[..., :3]), shining)
        self._lay_before(frame, clip, index)
        return self._camera.record(frame, index)

    def _lay_before(self, frame: np.ndarray, clip: PhotoClip, index: int) -> None:
        """What is raised in frame ``index``, into that frame."""
        pose = clip.scene.pose.at(index)
        in_frame = replace(pose, scale=pose.scale * clip.scene.unit)
        for layer, up in self._before:
            if up[index] > 0:
                draw_layer(frame, layer, held_pose(in_frame, clip.landmarks[index, 33], float(up[index]), clip.height))


def make_photo_clip(
    portrait: Portrait,
    identity_seed: int,
    sentence_seed: int,
    scene_seed: int,
    *,
    seconds: float = 5.0,
    size: int | tuple[int, int] = 256,
    fps: Fraction | int = 25,
    options: TalkerOptions | None = None,
    spoken: Spoken | None = None,
) -> PhotoClip:
    """The clip of a photograph and of those seeds; arguments as of ``make_talker``.

    ``identity_seed`` is whose voice it is. ``spoken``: something said, instead of the sentence of the seeds; it must
    fit ``seconds``. The ``options`` that have a meaning here: silences, music, offset of the audio, voice, turns, and
    hands and things before the mouth. A photograph tears where it is turned too far, see ``motion.FURTHEST_TURN``.
    Raises ``ValueError`` for a clip without a frame, and for options of drawn talkers.
    """
    options = options or TalkerOptions()
    if options.absences or options.profiles or options.cuts or options.crossing:
        raise ValueError("a photograph neither turns away nor leaves the frame, and nobody else is in it")
    fps = Fraction(fps)
    width, height = (size, size) if isinstance(size, int) else size
    count = frame_count(seconds, fps)
    spoken = spoken or speak(identity_seed, sentence_seed, count, fps, options)
    scene = _scene(scene_seed, np.arange(count) / float(fps), (width, height), options)
    face = canonical_face(portrait, min(FINEST, _FINENESS * scene.unit))
    return PhotoClip(
        identity_seed, sentence_seed, scene_seed, width, height, fps, spoken.waveform, spoken.utterance, spoken.mouth,
        face, scene,
    )  # fmt: skip


def speaking_landmarks(face: Face, mouth: Articulation, closure: np.ndarray) -> np.ndarray:
    """(N, 68, 2) landmarks in face units before the head is turned; ``mouth`` fields and ``closure`` are (N,)."""
    points = closed_lids(face, closure)
    lower = LowerFace(face)
    sinks = np.interp(points[0, :17, 0], lower.x, lower.sinks)
    points[:, :17, 1] += chin_sink(face.shape, mouth.opening)[:, None] * sinks
    seen = face.marks.landmarks[48:, 0] - face.middle
    s = seen / np.where(seen < 0, face.middle - face.lips.x[0], face.lips.x[-1] - face.middle)
    s[[0, 6]] = -1, 1
    edge_of = np.array([0] * 7 + [3] * 5 + [1] * 5 + [2] * 3)
    for index in range(len(closure)):
        now = mouth.at(index)
        left, right = half_widths(face, now)
        x = face.middle + np.where(s < 0, s * left, s * right)
        points[index, 48:, 0] = x
        points[index, 48:, 1] = edges_at(face, now, x).edges[edge_of, np.arange(20)]
    return points


def _scene(seed: int, times: np.ndarray, size: tuple[int, int], options: TalkerOptions) -> PhotoScene:
    rng = np.random.default_rng([seed, 71])
    side = min(size)
    unit = float(options.eye_distance or rng.uniform(*_UNIT) * side)
    hand_held = rng.random() < 0.4
    sway = np.stack([drift(rng, times, 0.15, 0.8) for _ in "xy"], axis=-1) * (0.006 * side * hand_held)
    centre = size[0] * (0.5 + rng.uniform(-0.03, 0.03)), size[1] * rng.uniform(*_EYES_AT)
    pose = head_motion(rng, times)
    pose = replace(pose, yaw=turned(pose.yaw, options.turn, times, options.turns))
    raised = (HAND, ramp(times, options.hands)), (options.thing, ramp(times, options.held))
    before = tuple((name, level) for name, level in raised if level.any())
    return PhotoScene(pose, blinks(rng, times, float(times[-1]) + 1), sway, unit, centre, seed, before)

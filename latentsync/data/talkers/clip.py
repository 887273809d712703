"""A clip of a synthetic talker, with the truth about every frame of it.

Person, scene and sentence have seeds of their own. Two clips that differ only in ``sentence_seed`` show the same person
in the same scene with the same movement; their frames are equal to the last bit outside the region that
``TalkerClip.speech_region`` gives, which is the face from the nose to just below the chin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.geometry import Articulation, jaw_reach
from latentsync.data.talkers.identity import make_identity
from latentsync.data.talkers.pose import turn, turn_outline
from latentsync.data.talkers.scene import Actor, Events, Shot, Span, in_view, mouth_free, stage
from latentsync.data.talkers.skin import relief
from latentsync.data.talkers.speech import Utterance, compose, mouth_at, tracks
from latentsync.data.talkers.voice import make_music, synthesise

MUSIC = ("none", "under", "instead")


@dataclass(frozen=True)
class TalkerOptions:
    """The hard cases. Spans are (start, end) in seconds of the clip."""

    eye_distance: float | None = None  # pixels between the pupils; None = chosen by the scene
    silences: tuple[Span, ...] = ()  # nothing is said, the mouth is closed (within 0.15 s)
    absences: tuple[Span, ...] = ()  # nobody in the frame, the voice goes on
    profiles: tuple[Span, ...] = ()  # the head is turned away
    turns: tuple[Span, ...] = ()  # the head is turned by the yaw ``turn``, and the face is still seen
    turn: float = 0.0  # rad, > 0: nose to the right of the frame
    hands: tuple[Span, ...] = ()  # a hand lies before the mouth
    thing: str = "bar"  # one of ``surroundings.THINGS``
    held: tuple[Span, ...] = ()  # the thing is held before the mouth
    cuts: tuple[float, ...] = ()  # times at which another person in another place goes on talking
    crossing: bool = False  # a second, silent person walks through the frame in front of the speaker
    music: str = "none"  # one of MUSIC; "instead" also keeps the mouth closed
    av_offset_frames: int = 0  # > 0: the audio comes so many frames after the mouth; < 0: before
    voice_of: int | None = None  # identity seed of the person whose voice and way of speaking it is; None = who is seen


@dataclass(frozen=True)
class PersonTruth:
    """What is true of one person in each of the N frames of a clip."""

    landmarks: np.ndarray  # (N, 68, 2) float32, frame pixels, iBUG order
    opening: np.ndarray  # (N,) float32: distance of the inner lips over the height of the face, before any turning
    visible: np.ndarray  # (N,) bool: wholly in the frame, not turned away, not behind somebody
    mouth_free: np.ndarray  # (N,) bool: no hand or thing before it or on its way
    yaw: np.ndarray  # (N,) float32, rad


@dataclass(frozen=True)
class Spoken:
    """Something said: audio, the phones of it, and the mouth in every frame."""

    waveform: np.ndarray  # (n,) float32 at 16 kHz, exactly as long as the frames
    utterance: Utterance
    mouth: Articulation  # fields (N,)


@dataclass(frozen=True)
class SpokenClip(ABC):
    """What clips of drawn and of photographed talkers have in common. Frames are drawn when asked for."""

    identity_seed: int
    sentence_seed: int
    scene_seed: int
    width: int
    height: int
    fps: Fraction
    waveform: np.ndarray  # (n,) float32 at 16 kHz, exactly as long as the frames
    utterance: Utterance

    @property
    @abstractmethod
    def n_frames(self) -> int:
        """Number of frames."""

    @property
    def cuts(self) -> tuple[int, ...]:
        """Index of the first frame of every shot but the first."""
        return ()

    @property
    @abstractmethod
    def people(self) -> tuple[PersonTruth, ...]:
        """The speaker, then, if there is one, a passer-by."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Frames ``start`` to ``stop - 1``, each (height, width, 3) uint8 RGB, the caller's to keep."""

    @abstractmethod
    def speech_region(self, index: int) -> np.ndarray:
        """(M, 2) polygon in frame pixels: nothing outside depends on what is said in frame ``index``."""

    @property
    def landmarks(self) -> np.ndarray:
        """Of the speaker: (N, 68, 2) float32, frame pixels, iBUG order."""
        return self.people[0].landmarks

    @property
    def opening(self) -> np.ndarray:
        """Of the speaker: (N,) float32, distance of the inner lips over the height of the face."""
        return self.people[0].opening

    @property
    def visible(self) -> np.ndarray:
        """Of the speaker: (N,) bool."""
        return self.people[0].visible

    def pixels(self) -> np.ndarray:
        """All frames, (N, height, width, 3) uint8 RGB."""
        return np.stack(list(self.frames()))


@dataclass(frozen=True)
class TalkerClip(SpokenClip):
    """A drawn talker."""

    shots: tuple[Shot, ...]

    @cached_property
    def n_frames(self) -> int:
        """Of all shots."""
        return sum(len(shot) for shot in self.shots)

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Index of the first frame of every shot but the first."""
        return tuple(int(v) for v in np.cumsum([len(shot) for shot in self.shots])[:-1])

    @cached_property
    def people(self) -> tuple[PersonTruth, ...]:
        """The speaker (of each shot in turn), then, if there is one, the passer-by."""
        count = len(self.shots[0].actors)
        return tuple(self._truth(number) for number in range(count))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """See ``SpokenClip``."""
        first = 0
        stop = self.n_frames if stop is None else min(stop, self.n_frames)
        for shot in self.shots:
            for index in range(max(start - first, 0), min(stop - first, len(shot))):
                yield shot.frame(index)
            first += len(shot)

    def speech_region(self, index: int) -> np.ndarray:
        """See ``SpokenClip``. Raises ``IndexError`` beyond the last frame."""
        shot, within = self._shot_of(index)
        return _speech_region(shot.actors[0], within)

    def cover(self, index: int) -> np.ndarray:
        """(height, width) uint8: 255 where a hand or a thing lies before what is behind it in frame ``index``."""
        shot, within = self._shot_of(index)
        return shot.cover(within)

    def _shot_of(self, index: int) -> tuple[Shot, int]:
        first = 0
        for shot in self.shots:
            if index < first + len(shot):
                return shot, index - first
            first += len(shot)
        raise IndexError(f"frame {index} of {self.n_frames}")

    def _truth(self, number: int) -> PersonTruth:
        actors = [shot.actors[number] for shot in self.shots]
        size = (self.width, self.height)
        return PersonTruth(
            landmarks=np.concatenate([a.landmarks for a in actors]),
            opening=np.concatenate([_opening(a) for a in actors]).astype(np.float32),
            visible=np.concatenate([in_view(shot.actors, number, size) for shot in self.shots]),
            mouth_free=np.concatenate([mouth_free(a) for a in actors]),
            yaw=np.concatenate([a.pose.yaw for a in actors]).astype(np.float32),
        )


def make_talker(
    identity_seed: int,
    sentence_seed: int,
    scene_seed: int,
    *,
    seconds: float = 5.0,
    size: int | tuple[int, int] = 256,
    fps: Fraction | int = 25,
    options: TalkerOptions | None = None,
) -> TalkerClip:
    """The clip of those seeds: equal arguments give equal frames and samples, bit for bit, on one installation.

    ``size`` is the side of a square or (width, height) in pixels. Raises ``ValueError`` for a clip without a frame,
    a cut outside the clip, or a music mode that is not one of ``MUSIC``.
    """
    options = options or TalkerOptions()
    fps = Fraction(fps)
    width, height = (size, size) if isinstance(size, int) else size
    count = frame_count(seconds, fps)
    spoken = speak(identity_seed, sentence_seed, count, fps, options)
    times = np.arange(count) / float(fps)
    shots = _make_shots(identity_seed, scene_seed, times, spoken.mouth, (width, height), options, fps)
    return TalkerClip(
        identity_seed, sentence_seed, scene_seed, width, height, fps, spoken.waveform, spoken.utterance, shots
    )


def frame_count(seconds: float, fps: Fraction) -> int:
    """Of a clip. Raises ``ValueError`` if it is 0."""
    count = int(Fraction(seconds).limit_denominator(100_000) * fps)
    if count < 1:
        raise ValueError(f"{seconds} s at {fps} frames per second hold no frame")
    return count


def speak(identity_seed: int, sentence_seed: int, count: int, fps: Fraction, options: TalkerOptions) -> Spoken:
    """The sentence of that seed in the voice of that person (or of ``options.voice_of``), over ``count`` frames.

    Raises ``ValueError`` for a music mode that is not one of ``MUSIC``.
    """
    if options.music not in MUSIC:
        raise ValueError(f"music is one of {', '.join(MUSIC)}, not {options.music!r}")
    times = np.arange(count) / float(fps)
    voice = make_identity(identity_seed if options.voice_of is None else options.voice_of).voice
    duration = count / float(fps)
    silences = ((0.0, duration),) if options.music == "instead" else options.silences
    utterance = compose(sentence_seed, voice, duration, silences)
    speech = tracks(utterance, sentence_seed, voice, duration)
    samples = int(count / fps * AUDIO_RATE)
    waveform = _delay(synthesise(speech, voice, sentence_seed, samples), options.av_offset_frames, fps)
    if options.music != "none":
        waveform = waveform + make_music(sentence_seed, samples) * np.float32(0.5 if options.music == "under" else 1.5)
    return Spoken(np.clip(waveform, -1, 1), utterance, mouth_at(speech.mouth, times))


def _make_shots(
    identity_seed: int, scene_seed: int, times: np.ndarray, mouth: Articulation, size: tuple[int, int],
    options: TalkerOptions, fps: Fraction,
) -> tuple[Shot, ...]:  # fmt: skip
    count = len(times)
    cuts = [round(cut * float(fps)) for cut in options.cuts]
    borders = [0, *cuts, count]
    if sorted(set(borders)) != borders:
        raise ValueError(f"cuts at {options.cuts} s do not lie in order inside the clip")
    shots = []
    for number, (start, stop) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
        part = slice(start, stop)
        people = [(make_identity(_further(identity_seed, number)), _part(mouth, part))]
        if options.crossing:
            passer_by = make_identity(_further(identity_seed, 1000 + number))
            people.append((passer_by, Articulation(*(np.zeros(stop - start) for _ in range(6)))))
        since = times[start]
        absences, profiles, turns, hands, held = (
            tuple((a - since, b - since) for a, b in spans)
            for spans in (options.absences, options.profiles, options.turns, options.hands, options.held)
        )
        events = Events(absences, profiles, turns, options.turn, hands, options.thing, held)
        shots.append(
            stage(people, times[part] - since, _further(scene_seed, number), size, events, options.eye_distance)
        )
    return tuple(shots)


def _further(seed: int, number: int) -> int:
    """Seed of the further person or scene ``number`` of a clip; the first one keeps the clip's own."""
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _part(mouth: Articulation, part: slice) -> Articulation:
    return Articulation(*(getattr(mouth, name)[part] for name in mouth.__dataclass_fields__))


def _delay(waveform: np.ndarray, frames: int, fps: Fraction) -> np.ndarray:
    """The audio ``frames`` video frames later, same length; silence comes in."""
    shift = round(frames / fps * AUDIO_RATE)
    gap = np.zeros(min(abs(shift), len(waveform)), waveform.dtype)
    kept = len(waveform) - len(gap)
    return np.concatenate([gap, waveform[:kept]] if shift >= 0 else [waveform[len(gap) :], gap])


def _opening(actor: Actor) -> np.ndarray:
    shape = actor.identity.shape
    return actor.mouth.opening * shape.max_opening / shape.height


def _speech_region(actor: Actor, index: int) -> np.ndarray:
    """Hull of the moving skin as the drawing is turned, and of the chin as its outline is."""
    shape = actor.identity.shape
    left, top, right, bottom = -0.84, shape.nose_y - 0.05, 0.84, jaw_reach(shape) + 0.03
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    share = np.linspace(0, 1, 12, endpoint=False)[None, :, None]
    edge = (corners[:, None] * (1 - share) + np.roll(corners, -1, axis=0)[:, None] * share).reshape(-1, 2)
    pose = actor.pose.at(index)
    height = relief(shape, edge[:, 0], edge[:, 1])
    around = [turn(edge, height, pose), turn(edge, np.zeros(len(edge)), pose), turn_outline(edge, pose)]
    return cv2.convexHull(np.concatenate(around).astype(np.float32))[:, 0]

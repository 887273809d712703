"""Who is dubbed when, as the pipeline takes it: a cast of roles, each with parts of the result that it speaks.

A role is one person and follows one face. A part is a stretch of time in which the mouth of that person follows one
audio, with settings of its own. A dub with one audio is a cast of one role with one part, which has no end.

The roles of a run see the same frames, and their windows are independent of each other. So every stage between the
faces and the paste works on a role alone, and the windows of all roles are generated together: ``merged`` brings them
into the order of time, so that no role runs ahead of the others and what waits is bounded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.face.box import longer_side
from latentsync.face.selection import TargetFrame
from latentsync.face.similarity import transform
from latentsync.inference.options import SyncOptions
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.timeline import LengthMode
from latentsync.inference.windows import AlignedFrame, FaceFrame, FrameGroup, PassedFrame
from latentsync.types import AudioWindows, FaceObservation, Frame

OUTSIDE = "not in the scene"
AFTER_AUDIO = "the audio is over"
SECOND_OF_SILENCE = np.zeros(AUDIO_RATE, np.float32)
WINDOWS_OF_A_ROLE = 1_000_000  # numbers of windows that each role has to itself
FOREHEAD = 0.35  # of the height of the landmarks: by so much a face is higher than they are
MARGIN, SOFT = 0.012, 0.02  # of a face in front: what stays around it, and the soft border; shares of the canvas side

MakeAudio = Callable[[np.ndarray, SyncOptions], AudioWindows]


@dataclass(frozen=True, slots=True)
class Part:
    """Seconds ``start`` to ``stop`` of the result, None: without an end.

    ``waveform`` (n,) float32 in [-1, 1] at 16 kHz is what the mouth follows, from ``start`` on. ``options``: of them
    the sampler, the seed and what is shown in silence. ``speech`` is on the clock of the waveform. ``fades``: frames
    over which the mouth comes and goes where the person is left alone beside the part; None: the ramp of the run.
    ``audio``: the features of the waveform, if they are known already.
    """

    start: Fraction
    stop: Fraction | None
    waveform: np.ndarray
    options: SyncOptions
    speech: SpeechPlan = field(default_factory=SpeechPlan)
    fades: tuple[int | None, int | None] = (None, None)
    audio: AudioWindows | None = None

    @property
    def seconds(self) -> Fraction:
        """How long it lasts; without an end, as long as its audio."""
        return Fraction(len(self.waveform), AUDIO_RATE) if self.stop is None else self.stop - self.start


@dataclass(frozen=True, slots=True)
class Role:
    """``face``: whom it follows, in the syntax of ``face.selection``. ``parts`` in the order of time; they do not
    overlap. ``over``: when the only part of a run is over although it has no end (``LengthMode.PAD_SILENCE``)."""

    face: str
    parts: tuple[Part, ...]
    name: str = ""
    over: Fraction | None = None

    def place(self, time: Fraction) -> int | None:
        """The number of the part that holds ``time``, None outside all of them."""
        place = bisect_right(self.parts, time, key=lambda part: part.start) - 1
        if place < 0:
            return None
        stop = self.parts[place].stop
        return place if stop is None or time < stop else None

    def at(self, time: Fraction) -> Part | None:
        """The part that holds ``time``."""
        place = self.place(time)
        return None if place is None else self.parts[place]

    def begins(self, before: Frame, after: Frame) -> bool:
        """Whether a part begins or ends between two frames, so that no window spans them."""
        return self.place(before.time) != self.place(after.time)

    def inside(self, targets: Iterable[TargetFrame]) -> Iterator[TargetFrame]:
        """The targets; outside the parts there is no face to change."""
        for target in targets:
            time = target.frame.time
            if self.over is not None and time >= self.over:
                target = replace(target, face=None, reason=AFTER_AUDIO)
            elif self.place(time) is None:
                target = replace(target, face=None, reason=OUTSIDE)
            yield target

    def spoken(self, targets: Iterable[TargetFrame]) -> Iterator[TargetFrame]:
        """The targets; where a part shows the source as it is there is no face to change."""
        for target in targets:
            part = None if target.face is None else self.at(target.frame.time)
            reason = "" if part is None else part.speech.reason(target.frame.time - part.start)
            yield replace(target, face=None, reason=reason) if reason else target

    def with_fades(self, frames: Iterable[AlignedFrame], usual: int) -> Iterator[AlignedFrame]:
        """The frames; those outside the parts know over how many frames the mouth fades beside them: ``usual`` ones
        where a part does not say it."""
        for member in frames:
            if isinstance(member, PassedFrame) and member.reason == OUTSIDE:
                after = bisect_right(self.parts, member.frame.time, key=lambda part: part.start)
                fade_out = self.parts[after - 1].fades[1] if after else None
                fade_in = self.parts[after].fades[0] if after < len(self.parts) else None
                fades = (usual if fade_out is None else fade_out, usual if fade_in is None else fade_in)
                member = replace(member, fades=fades)
            yield member

    @property
    def longest_fade(self) -> int:
        """Of its parts, in frames."""
        return max((each or 0 for part in self.parts for each in part.fades), default=0)


@dataclass(frozen=True, slots=True)
class Cast:
    """The ``roles`` of a run and the length of its result in seconds, to half a frame."""

    roles: tuple[Role, ...]
    duration: Fraction

    @classmethod
    def of_one(
        cls, waveform: np.ndarray, options: SyncOptions, speech: SpeechPlan, audio: AudioWindows | None = None
    ) -> Cast:
        """For a dub with one audio (n,) float32 at 16 kHz, which lasts as long as that; ``audio``: its features."""
        duration = Fraction(len(waveform), AUDIO_RATE) if audio is None else audio.duration
        part = Part(Fraction(0), None, waveform, options, speech, audio=audio)
        over = duration if options.length is LengthMode.PAD_SILENCE else None
        return cls((Role(options.face, (part,), over=over),), duration)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of all roles."""
        return tuple(part for role in self.roles for part in role.parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the pauses, each once."""
        return tuple(dict.fromkeys(note for part in self.parts for note in part.speech.notes))

    @property
    def variants(self) -> tuple[SyncOptions, ...]:
        """The options of the parts, one of each kind of sampler and seed: their windows are generated together."""
        kinds = {(part.options.sampler, part.options.seed): part.options for part in reversed(self.parts)}
        order = dict.fromkeys((part.options.sampler, part.options.seed) for part in self.parts)
        return tuple(kinds[kind] for kind in order)

    def variant_of(self, part: Part) -> int:
        """Which of ``variants`` a part is generated with."""
        kinds = [(options.sampler, options.seed) for options in self.variants]
        return kinds.index((part.options.sampler, part.options.seed))


class RoleAudio:
    """Audio conditioning of a role (``types.AudioWindows``): that of the part that holds the time.

    Only the features of one part are in memory.
    """

    def __init__(self, role: Role, duration: Fraction, embed: MakeAudio) -> None:
        self.duration = duration
        self._role, self._embed = role, embed
        self._place: int | None = None
        self._audio: AudioWindows | None = None

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``. Raises ``ValueError`` outside the parts, where nothing is generated."""
        place = self._role.place(frame_time)
        if place is None:
            raise ValueError(f"nobody speaks at {float(frame_time):g} s")
        part = self._role.parts[place]
        if self._audio is None or place != self._place:
            options = part.options
            embedded = self._embed(part.waveform, options) if part.audio is None else part.audio
            self._audio = part.speech.eased(embedded, lambda: self._embed(SECOND_OF_SILENCE, options))
            self._place = place
        return self._audio.window(frame_time - part.start)


def tagged(groups: Iterable[FrameGroup], cast: Cast, number: int) -> Iterator[FrameGroup]:
    """The groups of role ``number``, whose windows say with which settings they are generated."""
    role = cast.roles[number]
    variants = [cast.variant_of(part) for part in role.parts]
    for group in groups:
        place = role.place(group.frames[0].frame.time)
        variant = 0 if place is None else variants[place]
        if number or variant:
            first = number * WINDOWS_OF_A_ROLE
            windows = (replace(each, number=first + each.number, variant=variant) for each in group.windows)
            group = replace(group, windows=tuple(windows), role=number)
        yield group


def merged(streams: Sequence[Iterator[FrameGroup]]) -> Iterator[FrameGroup]:
    """The groups of all roles: the next one is always of the role that has come least far."""
    came = dict.fromkeys(range(len(streams)), 0)  # role -> frames of its groups
    while came:
        number = min(came, key=lambda role: (came[role], role))
        group = next(streams[number], None)
        if group is None:
            del came[number]
            continue
        came[number] += len(group.frames) - group.after
        yield group


def behind_others(
    frames: Iterable[AlignedFrame], faces_in: Callable[[int], Sequence[FaceObservation]]
) -> Iterator[AlignedFrame]:
    """The frames; where a face is nearer to the camera, which is the larger one, nothing is painted over it.

    ``faces_in``: all faces of a frame, by its number.
    """
    for member in frames:
        if isinstance(member, FaceFrame):
            face = member.observation
            nearer = [
                other
                for other in faces_in(member.frame.index)
                if other.track_id != face.track_id and longer_side(other.box) > longer_side(face.box)
            ]
            visible = _visible_beside(member, nearer)
            if visible is not None:
                visible = visible if member.visible is None else np.minimum(visible, member.visible)
                member = replace(member, visible=visible)
        yield member


def _visible_beside(member: FaceFrame, nearer: Sequence[FaceObservation]) -> np.ndarray | None:
    """(R, R) float32: where none of the ``nearer`` faces is on the canvas of another; None if none reaches it."""
    side = member.face.pixels.shape[-1]
    cover = np.zeros((side, side), np.uint8)
    for other in nearer:
        points = other.landmarks
        up = (points[27] - points[8]) * np.float32(FOREHEAD)  # from the chin to between the eyes
        outline = transform(member.face.matrix, np.concatenate([points, points[17:27] + up]).astype(np.float64))
        if outline.max(0).min() < 0 or outline.min(0).max() >= side:
            continue
        hull = cv2.convexHull(outline.astype(np.float32))
        cv2.fillConvexPoly(cover, (hull * 16).round().astype(np.int32), 255, cv2.LINE_AA, 4)
    if not cover.any():
        return None
    soft, grown = (2 * round(share * side) + 1 for share in (SOFT, SOFT + MARGIN))
    around = cv2.dilate(cover, np.ones((grown, grown), np.uint8))  # soft outside the face in front, never on it
    return 1 - cv2.blur(around, (soft, soft)).astype(np.float32) / 255

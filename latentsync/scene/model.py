"""The values of a scene. Times are exact fractions of a second from the start of the video.

A scene names people and segments. In a segment one person speaks one audio; what no segment names stays as it is. Two
segments may overlap in time if they are of different people. A segment without an audio of its own takes the part of
the scene's audio that lies at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PersonChoice:
    """A person of the video. ``face``: which face that is, in the syntax of ``--face``; empty if nobody has said it."""

    name: str
    face: str = ""


def face_at(x: float | Fraction, y: float | Fraction, seconds: Fraction) -> str:
    """The face nearest to a point of the frame that is shown from ``seconds`` on, in the syntax of ``--face``.

    Tenths of a pixel, none before 0; the time is rounded down, since one after that of the frame would name the next.
    """
    time = math.floor(seconds * 10_000) / 10_000
    return f"{max(float(x), 0.0):.1f},{max(float(y), 0.0):.1f}@{time:.4f}"


@dataclass(frozen=True, slots=True)
class SegmentAudio:
    """Seconds ``start`` to ``end`` of a ``file``; an ``end`` of None is that of the file.

    ``track`` counts the audio tracks of the file from 0, ``channel`` the channels of that; None: the track that players
    take, and all channels.
    """

    file: Path
    track: int | None = None
    channel: int | None = None
    start: Fraction = Fraction(0)
    end: Fraction | None = None

    def from_second(self, second: Fraction) -> SegmentAudio:
        """The same without its first seconds."""
        return SegmentAudio(self.file, self.track, self.channel, self.start + second, self.end)


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """What a segment has of its own; None: as the whole run. The values mean what those of the command line do."""

    preset: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    silence: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """Frames over which the generated mouth comes and goes at the ends of a segment, where the person is left alone
    beside it; None: as the whole run."""

    fade_in: int | None = None
    fade_out: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """Seconds ``start`` to ``end`` in which ``person`` (a name) speaks; an ``end`` of None is that of the video.

    ``place`` says where it was read, for messages.
    """

    start: Fraction
    end: Fraction | None
    person: str
    audio: SegmentAudio | None = None
    options: SegmentOptions = SegmentOptions()
    transition: Transition = Transition()
    place: str = field(default="", compare=False, repr=False)

    def describe(self) -> str:
        """Where it is, for messages: the file and line, or the times."""
        end = "the end" if self.end is None else f"{float(self.end):g} s"
        return self.place or f"the segment from {float(self.start):g} s to {end}"

    def end_in(self, duration: Fraction) -> Fraction:
        """When it is over in a video of ``duration`` seconds."""
        return duration if self.end is None else min(self.end, duration)


@dataclass(frozen=True, slots=True)
class Scene:
    """``audio`` lies on the clock of the video; it is what is heard, where there is one. ``video``: the file that the
    scene is of, if it is known."""

    people: tuple[PersonChoice, ...]
    segments: tuple[Segment, ...]
    audio: SegmentAudio | None = None
    video: Path | None = None

    def audio_of(self, segment: Segment) -> SegmentAudio | None:
        """What is spoken in a segment of this scene; None if nobody has said it."""
        if segment.audio is not None or self.audio is None:
            return segment.audio
        return self.audio.from_second(segment.start)

    def person(self, name: str) -> PersonChoice:
        """The person of that name. A name that the scene does not explain is itself the choice of a face."""
        return next((each for each in self.people if each.name == name), PersonChoice(name, name))

    def speakers(self) -> tuple[PersonChoice, ...]:
        """Those who have a segment, in the order of the scene's people, then of their first segments."""
        named = [each.name for each in self.people]
        spoken = list(dict.fromkeys(segment.person for segment in self.segments))
        order = [name for name in named if name in spoken] + [name for name in spoken if name not in named]
        return tuple(self.person(name) for name in order)

    def segments_of(self, person: str) -> tuple[Segment, ...]:
        """The segments of a person, by time."""
        return tuple(sorted((s for s in self.segments if s.person == person), key=lambda segment: segment.start))

    def files(self) -> Iterator[Path]:
        """The audio files, each once, the scene's own first."""
        given = [self.audio, *(segment.audio for segment in self.segments)]
        yield from dict.fromkeys(audio.file for audio in given if audio is not None)


def check_scene(scene: Scene, duration: Fraction | None = None, spacing: Fraction = Fraction(0)) -> None:
    """Raise ``ConfigError`` for a scene that makes no sense: without a segment, with times that are no stretch or lie
    outside a video of ``duration`` seconds, with segments of one person that overlap, without an audio or its file, or
    with a person of whom nobody has said who that is.

    ``duration`` None: no video is known. ``spacing``: seconds by which a segment may outlast it, such as a frame.
    """
    if not scene.segments:
        raise ConfigError("The scene has no segment, so nobody is dubbed.", remedy="Name a person, a start and an end.")
    for segment in scene.segments:
        _check_times(segment, duration, spacing)
        _check_audio(scene, segment)
    for person in scene.speakers():
        segments = scene.segments_of(person.name)
        for before, after in zip(segments, segments[1:], strict=False):
            if before.end is None or before.end > after.start:
                raise ConfigError(
                    f"{after.describe()}: this segment of '{person.name}' begins at {float(after.start):g} s, before "
                    "the one before it is over.",
                    remedy="A person speaks one audio at a time: move one of the two, or name another person.",
                )
        if not person.face:
            raise ConfigError(
                f"{segments[0].describe()}: nothing says which face '{person.name}' is.",
                remedy=f"Give --people {person.name}=index:0 (the first face from the left), or as `latentsync people` "
                "prints it.",
            )


def _check_times(segment: Segment, duration: Fraction | None, spacing: Fraction) -> None:
    start, end = segment.start, segment.end
    if start < 0 or (end is not None and end <= start):
        shown = "the end" if end is None else f"{float(end):g} s"
        raise ConfigError(
            f"{segment.describe()}: from {float(start):g} s to {shown} is no stretch of time.",
            remedy="Give a start from 0 and a later end, in seconds.",
        )
    if duration is None:
        return
    if start >= duration or (end is not None and end > duration + spacing):
        late = start if start >= duration else end
        assert late is not None  # the start, or an end that is there
        raise ConfigError(
            f"{segment.describe()}: {float(late):g} s lies behind the end of the video, which lasts "
            f"{float(duration):.2f} s.",
            remedy="Give times inside the video.",
        )


def _check_audio(scene: Scene, segment: Segment) -> None:
    audio = scene.audio_of(segment)
    if audio is None:
        raise ConfigError(
            f"{segment.describe()}: the segment has no audio, and neither has the scene.",
            remedy="Give the segment an audio, or --audio_path for the whole scene.",
        )
    if not audio.file.is_file():
        raise ConfigError(f"{segment.describe()}: there is no audio file {audio.file}.", remedy="Check its path.")
    if audio.start < 0 or (audio.end is not None and audio.end <= audio.start):
        raise ConfigError(
            f"{segment.describe()}: of {audio.file} nothing is left between {float(audio.start):g} s and its end.",
            remedy="Give a start from 0 and a later end, in seconds of the audio file.",
        )

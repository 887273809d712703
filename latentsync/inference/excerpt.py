"""An excerpt of a result: which frames it has, and how to decode them without what lies between."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from latentsync.errors import ConfigError
from latentsync.inference.stretches import Stretch
from latentsync.inference.timeline import LengthMode, frame_spacing, playing_order
from latentsync.types import ArrayFrame, Frame, VideoInfo, VideoSource

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_FAR = 25  # frames: a longer jump is faster by seeking than by decoding what lies between


@dataclass(frozen=True, slots=True)
class Excerpt(Stretch):
    """Seconds ``start`` to ``stop`` of the result."""

    @classmethod
    def around(cls, moment: float, seconds: float, duration: Fraction) -> Excerpt:
        """``seconds`` with ``moment`` in the middle, moved or shortened to lie within 0 to ``duration`` seconds."""
        length = min(Fraction(seconds), duration)
        start = min(max(Fraction(moment) - length / 2, Fraction(0)), duration - length)
        return cls(start, start + length)

    def between_frames(self, fps: Fraction) -> Excerpt:
        """The excerpt whose ends are the nearest ends of frames, so that the next one goes on where this one ends.

        Raises ``ConfigError`` if that leaves nothing of it.
        """
        return Excerpt(Fraction(round(self.start * fps)) / fps, Fraction(round(self.stop * fps)) / fps)

    def on_frames(self, video: VideoSource, duration: Fraction, mode: LengthMode) -> Excerpt:
        """The nearest excerpt that begins with a frame of the result. Raises ``ConfigError`` if it has none."""
        if video.info.variable_frame_rate:
            start = excerpt_frames(video, duration, mode, self)[0].time
        else:
            start = Fraction(round(self.start * video.info.fps)) / video.info.fps
        return Excerpt(start, start + self.stop - self.start)


def excerpt_frames(video: VideoSource, duration: Fraction, mode: LengthMode, excerpt: Excerpt) -> list[Frame]:
    """The frames of an excerpt without their pixels. Raises ``ConfigError`` if it has none."""
    half = frame_spacing(video.info) / 2
    frames = []
    for frame in playing_order(_Undecoded(video), duration, mode):
        if frame.time + half >= excerpt.stop:
            break
        if frame.time + half >= excerpt.start:
            frames.append(frame)
    if not frames:
        raise ConfigError(
            f"The result ends before {float(excerpt.start):g} s.", remedy="Choose an earlier moment, or longer audio."
        )
    return frames


class _Undecoded:
    """A video whose frames have numbers and times, but no pixels."""

    def __init__(self, video: VideoSource) -> None:
        self.info: VideoInfo = video.info
        self._times = video.times()

    def times(self) -> list[Fraction]:
        return self._times

    def frames(self, start: int = 0, stop: int | None = None, *, reverse: bool = False) -> Generator[Frame, None, None]:
        indices = range(len(self._times))[start:stop]
        for index in reversed(indices) if reverse else indices:
            yield ArrayFrame(index, self._times[index], _NO_PIXELS)


def order_of(video: VideoSource, duration: Fraction, mode: LengthMode) -> list[Frame]:
    """``timeline.playing_order`` without pixels."""
    return list(playing_order(_Undecoded(video), duration, mode))


def with_pixels(video: VideoSource, frames: list[Frame]) -> Iterator[Frame]:
    """``frames``, which may have no pixels, with theirs. Few other frames are decoded."""
    for run in _runs(frames):
        yield from _decoded(video, run)


def _runs(frames: list[Frame]) -> Iterator[list[Frame]]:
    """The frames cut into runs that go forwards without a long jump, or backwards frame by frame."""
    run: list[Frame] = []
    for frame in frames:
        step = frame.index - run[-1].index if run else 0
        if step < -1 or step > _FAR or (run and step * (run[-1].index - run[0].index) < 0):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _decoded(video: VideoSource, run: list[Frame]) -> Iterator[Frame]:
    """The frames of a run with their pixels; those that cannot be decoded are left out."""
    first, last = run[0].index, run[-1].index
    backwards = last < first
    with closing(video.frames(min(first, last), max(first, last) + 1, reverse=backwards)) as source:
        current = next(source, None)
        for wanted in run:
            while current is not None and (current.index > wanted.index if backwards else current.index < wanted.index):
                current = next(source, None)
            if current is not None and current.index == wanted.index:
                yield current.shown_at(wanted.time)

"""``LipsyncStream``: push audio, pull frames. The stages between are those of the offline pipeline.

    stream = LipsyncStream(pipeline, person, options)
    stream.push(samples, 48_000)           # as it comes, in pieces of any length
    for frame in stream.poll(): ...        # those that are finished
    stream.end()
    for frame in stream.frames(): ...      # the rest

The frames are those of ``LipsyncPipeline.sync`` with the same options and the whole audio, bit for bit, as long as
nothing is late (``OnBacklog.WAIT``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError
from latentsync.features.live_features import LOOK_AHEAD
from latentsync.inference.options import LiveSettings, SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord
from latentsync.inference.timeline import LengthMode, frame_spacing
from latentsync.inference.windows import AlignedFrame
from latentsync.live.audio_input import AudioInput, Resampler, StreamClosedError, mono
from latentsync.live.late import FreezeWhenLate
from latentsync.live.person import Person
from latentsync.stream import CLOSE_SECONDS
from latentsync.types import Frame

_ENDLESS_MODES = (LengthMode.PINGPONG, LengthMode.LOOP, LengthMode.FREEZE)
FRAMES_READY = 64  # that nobody has taken; then the stages wait
_TOO_LATE = 3  # times as much as the mouth is frozen for
_END = object()


class OnBacklog(StrEnum):
    """What happens where audio comes faster than frames are made.

    ``wait``: ``push`` waits, but not for whoever takes the frames, who may be the one that pushes. ``freeze``: ``push``
    takes everything; the mouth keeps its shape for windows that are more than ``most_waiting`` behind, while the head
    moves on, so image and audio stay together. Frames that are three times as much behind are left out.
    """

    WAIT = "wait"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """``pushed``: seconds of audio; ``frames``: made so far; ``frozen``: windows whose mouth kept its shape;
    ``left_out``: frames that were not made; ``waiting``: seconds of audio that no window was made of yet."""

    pushed: Fraction
    frames: int
    frozen: int
    left_out: int
    waiting: Fraction


def look_ahead(options: SyncOptions, spacing: Fraction, window: int) -> Fraction:
    """Seconds of audio after the first frame of a window that must have come before it can be generated.

    The first window of a stream has ``window`` new frames; ``spacing``: seconds from frame to frame.
    """
    fitted = 0 if options.live is None else options.live.fit_ahead
    return (window - 1 + fitted) * spacing + LOOK_AHEAD


class LipsyncStream:
    """One live stream. ``push``, ``end`` and ``close`` may be called by one thread, ``poll`` and ``frames`` by another.

    ``options.live`` None stands for ``LiveSettings()``. ``most_waiting``: seconds of audio that may wait. Raises
    ``ConfigError`` for options that need the whole audio, or a video without an end.
    """

    def __init__(
        self,
        pipeline: LipsyncPipeline,
        person: Person,
        options: SyncOptions,
        *,
        on_backlog: OnBacklog = OnBacklog.WAIT,
        most_waiting: Fraction = Fraction(2),
    ) -> None:
        if options.length not in _ENDLESS_MODES:
            raise ConfigError(
                f"A live stream has no end that '{options.length}' could fit the video to.",
                remedy=f"Choose one of {', '.join(_ENDLESS_MODES)}.",
            )
        self.options = options if options.live is not None else replace(options, live=LiveSettings())
        freezes = on_backlog is OnBacklog.FREEZE
        self._audio = AudioInput(None if freezes else most_waiting)
        self._late = FreezeWhenLate(lambda: self._audio.waiting > most_waiting)
        self._pipeline = pipeline.with_generator(self._late.around) if freezes else pipeline
        self._person = person
        self.record = RunRecord()
        self._resampler: tuple[int, Resampler] | None = None
        self._made = self._left_out = 0
        self._too_late = _TOO_LATE * most_waiting + self.look_ahead if freezes else None
        self._ready: queue.Queue[object] = queue.Queue(FRAMES_READY)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    @property
    def look_ahead(self) -> Fraction:
        """Seconds of audio that the first frame of a window waits for; computing comes on top of it."""
        assert self.options.live is not None
        window = min(self.options.live.window, self._pipeline.num_frames)
        return look_ahead(self.options, frame_spacing(self._person.video.info), window)

    @property
    def statistics(self) -> StreamStatistics:
        """So far."""
        pushed = Fraction(self._audio.arrived, AUDIO_RATE)
        return StreamStatistics(pushed, self._made, self._late.frozen, self._left_out, self._audio.waiting)

    def push(self, samples: np.ndarray, rate: int = AUDIO_RATE) -> None:
        """The next audio: (n,) or (n, channels) float32 in [-1, 1] or int16. Raises ``AudioError`` for what is no
        audio, ``StreamClosedError`` after the end, and what ended the work."""
        samples = mono(samples)
        if self._resampler is None or self._resampler[0] != rate:
            self._append(self._rest())
            self._resampler = rate, Resampler(rate)
        self._append(self._resampler[1].convert(samples))

    def end(self) -> None:
        """There is no more audio: the frames that are left come out, as many as the audio is long."""
        self._append(self._rest())
        self._audio.end()

    def close(self) -> None:
        """Stop the work; frames that nobody has taken are gone."""
        self._stop.set()
        self._audio.close()
        self._thread.join(CLOSE_SECONDS)

    def poll(self) -> list[Frame]:
        """The frames that are finished, without waiting; raises what ended the work."""
        found: list[Frame] = []
        while not self._over:
            try:
                item = self._ready.get_nowait()
            except queue.Empty:
                break
            if item is _END:
                self._finish()
            else:
                found.append(item)  # type: ignore[arg-type]
        return found

    def frames(self) -> Iterator[Frame]:
        """Frames in order, until the stream has ended or is closed; waits for them. Raises what ended the work."""
        while not self._over and not self._stop.is_set():
            try:
                item = self._ready.get(timeout=0.05)  # or ``close`` would leave whoever waits here
            except queue.Empty:
                continue
            if item is _END:
                self._finish()
            else:
                yield item  # type: ignore[misc]

    @property
    def is_over(self) -> bool:
        """Whether the last frame was taken."""
        return self._over

    def _append(self, samples: np.ndarray) -> None:
        try:
            self._audio.append(samples)
        except StreamClosedError:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _rest(self) -> np.ndarray:
        return np.empty(0, np.float32) if self._resampler is None else self._resampler[1].rest()

    def _finish(self) -> None:
        self._over = True
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            person = self._person
            made = self._pipeline.live(
                person.video, self._audio, self.options, person.tracks(), self._in_time, self.record
            )
            with closing(made):  # type: ignore[type-var]  # a generator
                for frame in made:
                    self._made += 1
                    if not self._put(frame):
                        return
        except StreamClosedError:
            pass
        except BaseException as error:  # noqa: BLE001  handed to whoever takes the frames
            self._failure = error
        finally:
            self._audio.close()  # nobody reads it any more: ``push`` must not wait
            self._put(_END)

    def _in_time(self, frames: Iterator[AlignedFrame]) -> Iterator[AlignedFrame]:
        """The frames of which at least half lies within the audio, but for those that come far too late."""
        half_frame = frame_spacing(self._person.video.info) / 2
        with closing(frames):  # type: ignore[type-var]  # a generator
            for member in frames:
                if not self._audio.lasts(member.frame.time + half_frame):
                    return
                behind = Fraction(self._audio.arrived, AUDIO_RATE) - member.frame.time
                if self._too_late is not None and behind > self._too_late:
                    self._left_out += 1
                    continue
                yield member

    def _put(self, item: object) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.05)
                self._audio.let_in(False)
                return True
            except queue.Full:
                self._audio.let_in(True)
        return False

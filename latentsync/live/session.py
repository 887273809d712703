"""One person who speaks into a live stream over a network: the audio that comes, the frames that go, and statistics.

    pieces -> JitterBuffer -> LipsyncStream -> Playout -> frames

Nothing here reads a clock or waits, so it can be tested with any clock: ``receive`` and ``tick`` are told the time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from latentsync.errors import AudioError
from latentsync.live.jitter import WAIT, JitterBuffer
from latentsync.live.playout import Playout
from latentsync.live.stream import StreamStatistics
from latentsync.types import Frame

MOST_AHEAD = 4.0  # s of audio that may come before it can have been spoken, and again at double speed
COMPUTING = 0.3  # s that a window takes at first guess; the delay grows where it takes longer


class FrameStream(Protocol):
    """What makes frames of audio; ``LipsyncStream`` is one."""

    @property
    def look_ahead(self) -> Fraction:
        """Seconds of audio that a frame waits for at most."""

    @property
    def statistics(self) -> StreamStatistics:
        """What was made so far, and what was not."""

    def push(self, samples: np.ndarray, rate: int) -> None:
        """The next audio (n,) float32."""

    def poll(self) -> list[Frame]:
        """The frames that are finished."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """``rate`` of the audio; ``wait`` for a missing piece, s; ``computing``: s that a window may take before the delay
    must grow."""

    rate: int
    wait: float = WAIT
    computing: float = COMPUTING


@dataclass
class LiveSession:
    """``still``: what is shown before the first frame, so that nobody ever sees nothing; ``spacing``: seconds from
    frame to frame."""

    stream: FrameStream
    still: Frame
    spacing: Fraction
    settings: SessionSettings
    jitter: JitterBuffer = field(init=False)
    playout: Playout = field(init=False)
    shown: Frame = field(init=False)
    _began: float | None = field(default=None, init=False)  # when the first piece came
    _received: int = field(default=0, init=False)  # samples

    def __post_init__(self) -> None:
        self.jitter = JitterBuffer(self.settings.rate, self.settings.wait)
        self.playout = Playout(float(self.stream.look_ahead) + self.settings.computing, float(self.spacing))
        self.shown = self.still

    def receive(self, first: int, samples: np.ndarray, now: float) -> None:
        """A piece of audio (n,) float32 whose samples are counted from ``first``. Raises ``AudioError`` for more audio,
        or a later sample, than time has passed for: silence would stand for all that is missing before it."""
        self._began = now if self._began is None else self._began
        self._received += len(samples)
        if max(self._received, first) > (MOST_AHEAD + 2 * (now - self._began)) * self.settings.rate:
            raise AudioError("More audio has come than time has passed.", remedy="Send it as it is spoken.")
        self.jitter.put(first, samples, now)

    def made(self, now: float) -> list[Frame]:
        """Pass on what has come; the frames that are finished, for whoever shows them by a clock of their own."""
        audio = self.jitter.take(now)
        if len(audio):
            self.stream.push(audio, self.settings.rate)
        return self.stream.poll()

    def tick(self, now: float) -> Frame:
        """Pass on what has come; the frame that is to be seen ``now``."""
        for frame in self.made(now):
            self.playout.add(frame)
        if self.jitter.behind is not None:
            self.shown = self.playout.show(now, self.jitter.behind) or self.shown
        return self.shown

    def statistics_of_made(self) -> dict[str, Any]:
        """What came and what was made of it, where somebody else shows it; plain values, for JSON."""
        stream = self.stream.statistics
        made = {"made": stream.frames, "frozen": stream.frozen, "left_out": stream.left_out}
        return {**asdict(self.jitter.statistics), **made}

    def statistics(self) -> dict[str, Any]:
        """All of it."""
        return {**self.statistics_of_made(), **asdict(self.playout.statistics)}

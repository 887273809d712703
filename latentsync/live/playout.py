"""Which frame is shown when: as much later than its audio for every frame, so that image and audio stay together.

All times are seconds of one steady clock that the caller reads; nothing here waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from latentsync.types import Frame

MOST_DELAY = 1.5  # s; what is later still is skipped
_SLEW = 0.005  # s per s by which the delay follows the sender's clock


@dataclass(slots=True)
class PlayoutStatistics:
    """Frames that were ``shown``; ``skipped``, because they came after their time; ``stalls``: how often the next
    frame was not there in time; ``longest_stall``: seconds for which one frame stood too long; ``delay``: seconds from
    audio to image at the end."""

    shown: int = 0
    skipped: int = 0
    stalls: int = 0
    longest_stall: float = 0.0
    delay: float = 0.0


class Playout:
    """Frames of one stream, in order, to a screen.

    ``delay``: seconds from when audio is spoken to when its frame is shown. Where a frame comes later than that, the
    delay grows, up to ``MOST_DELAY``, and stays: the next one that is as late finds time. ``spacing``: seconds from
    frame to frame.
    """

    def __init__(self, delay: float, spacing: float) -> None:
        self.statistics = PlayoutStatistics(delay=delay)
        self._spacing = spacing
        self._waiting: deque[Frame] = deque()
        self._clock: tuple[float, float] | None = None  # when, and where the sender was
        self._last: float | None = None  # time of the frame that is shown
        self._stalls = False

    @property
    def delay(self) -> float:
        """Seconds from audio to image."""
        return self.statistics.delay

    def add(self, frame: Frame) -> None:
        """The next frame."""
        self._waiting.append(frame)

    def show(self, now: float, behind: float) -> Frame | None:
        """The frame that takes the place of the last one ``now``, if one does; ``behind``: ``JitterBuffer.behind``."""
        base, found = self._base(now, behind), None
        while self._waiting and base + float(self._waiting[0].time) + self.delay <= now + 1e-6:
            if found is not None:
                self.statistics.skipped += 1
            found = self._waiting.popleft()
        if found is None:
            self._note_stall(now, base)
            return None
        if self._stalls:
            late = now - (base + float(found.time) + self.delay)
            self.statistics.delay = min(self.delay + max(0.0, late), MOST_DELAY)
        self._last, self._stalls = float(found.time), False
        self.statistics.shown += 1
        return found

    def _note_stall(self, now: float, base: float) -> None:
        expected = 0.0 if self._last is None else self._last + self._spacing
        late = now - (base + expected + self.delay)
        if late <= 1e-6 or (self._last is not None and self._waiting):
            return
        self.statistics.stalls += not self._stalls
        self._stalls = True
        if self._last is not None:  # until the first frame, another image is shown
            self.statistics.longest_stall = max(self.statistics.longest_stall, late)

    def _base(self, now: float, behind: float) -> float:
        """Where the sender is, without jumps."""
        if self._clock is None:
            self._clock = now, behind
        then, was = self._clock
        step = _SLEW * (now - then)
        self._clock = now, min(max(behind, was - step), was + step)
        return self._clock[1]

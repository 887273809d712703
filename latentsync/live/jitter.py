"""Audio from a network into one stream without a hole: late, lost, doubled and out of order pieces, and another clock.

The audio is the clock of a live stream: its samples say which frame is meant. The sender's sound card runs a little
faster or slower than this machine's clock, by up to some 100 millionths, which is a frame in seven minutes. So nothing
here asks how much time has passed, but how much audio has come, and *where the sender is* is estimated anew all the
time: of the pieces of the last seconds, the one that travelled the quickest says it.

All times are seconds of one steady clock that the caller reads; nothing here waits.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np

WAIT = 0.25  # s that a missing piece is waited for
_MEMORY = 10.0  # s of pieces that say where the sender is
_MOST_HELD = 10.0  # s of audio after a hole; further pieces push the oldest hole out


@dataclass(slots=True)
class JitterStatistics:
    """``pieces`` that came; seconds of audio that were ``lost``, that came too ``late`` to be used, and that were
    ``missing`` because nothing came: silence stands for all of them. ``drift``: by how much slower (positive) the
    sender's clock runs, in millionths; 0 until 20 s have passed."""

    pieces: int = 0
    lost: float = 0.0
    late: float = 0.0
    missing: float = 0.0
    drift: float = 0.0


class JitterBuffer:
    """Pieces of audio with the number of their first sample, at ``rate``; in order, each sample once.

    ``wait``: seconds that a missing piece is waited for, before silence takes its place. That is also what stands for
    audio while the sender sends nothing, as much as time passes, so that a face never stops.
    """

    def __init__(self, rate: int, wait: float = WAIT) -> None:
        self.statistics = JitterStatistics()
        self._rate, self._wait = rate, wait
        self._held: dict[int, tuple[np.ndarray, float]] = {}  # first sample -> samples, when they came
        self._firsts: list[int] = []  # the first samples of what is held, as a heap
        self._furthest = 0  # the largest of them; what has been taken lies before all that is held
        self._next = 0  # sample that is given next
        self._quickest: deque[tuple[float, float]] = deque()  # (came, behind its audio by), rising, of the last seconds
        self._first: tuple[float, float] | None = None  # when the first estimate was made, and what it was

    @property
    def behind(self) -> float | None:
        """Seconds from a sample's number to the clock: sample n is spoken at ``n / rate + behind``, as far as the
        quickest pieces say. None before the first."""
        return self._quickest[0][1] if self._quickest else None

    def put(self, first: int, samples: np.ndarray, now: float) -> None:
        """A piece (n,) that came ``now``, whose samples are ``first`` to ``first + n - 1`` of the stream."""
        self.statistics.pieces += 1
        if not len(samples):
            return
        self._note(first + len(samples), now)
        too_late = min(len(samples), max(0, self._next - first))
        self.statistics.late += too_late / self._rate
        if too_late < len(samples):
            place = first + too_late
            known = self._held.get(place)
            if known is None:
                heapq.heappush(self._firsts, place)
                self._furthest = max(self._furthest, place)
            if known is None or len(known[0]) < len(samples) - too_late:
                self._held[place] = samples[too_late:], now

    def take(self, now: float) -> np.ndarray:
        """(n,) float32: what is passed on ``now``."""
        found: list[np.ndarray] = []
        while self._held:
            first = self._firsts[0]
            samples, came = self._held[first]
            if first > self._next:  # a hole
                far = self._furthest - self._next > _MOST_HELD * self._rate
                if now - came < self._wait and not far:
                    break
                self.statistics.lost += (first - self._next) / self._rate
                found.append(np.zeros(first - self._next, np.float32))
                self._next = first
            del self._held[heapq.heappop(self._firsts)]
            samples = samples[self._next - first :]
            found.append(samples)
            self._next += len(samples)
        if not self._held and self.behind is not None:
            due = int((now - self._wait - self.behind) * self._rate)  # samples that should be here by now
            if due > self._next:
                self.statistics.missing += (due - self._next) / self._rate
                found.append(np.zeros(due - self._next, np.float32))
                self._next = due
        return np.concatenate([np.empty(0, np.float32), *found])

    def _note(self, last: int, now: float) -> None:
        behind = now - last / self._rate
        while self._quickest and self._quickest[-1][1] >= behind:
            self._quickest.pop()
        self._quickest.append((now, behind))
        while self._quickest[0][0] < now - _MEMORY:
            self._quickest.popleft()
        if self._first is None:
            self._first = now, behind
        began, was = self._first
        if now - began < _MEMORY:
            self._first = began, min(was, behind)
        elif now - began >= 2 * _MEMORY:
            self.statistics.drift = (self._quickest[0][1] - was) / (now - began) * 1e6

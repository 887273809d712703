"""When each frame of a stream is shown and where decoding may start: the index that makes reading frame-exact.

Built from the packets of the stream without decoding; 8 bytes per frame are all that grows with the length of a video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np

_STANDARD_RATES = [Fraction(n) for n in (24, 25, 30, 48, 50, 60)]
_STANDARD_RATES += [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60)]
_ESTIMATE = Fraction(1, 10_000)  # relative error of a rate that a container has estimated; a tenth of 30 against 29.97
_LARGEST = 2**62  # ticks that may be reckoned with in int64
LONGEST_PAUSE = Fraction(10)  # seconds between two frames or sounds of a broadcast; more is a jump of its clock
DEFAULT_RATE = Fraction(25)  # frames per second of images that have no time of their own


@dataclass(frozen=True)
class Timeline:
    """Presentation times of the frames of one stream, in the order in which they are shown.

    ``pts`` (n,) int64 rising and ``end`` (when the last frame ends) count ticks of ``time_base`` seconds. ``keys`` (k,)
    int64 are the indices of key frames, the first of them 0. ``rate`` is the frame rate if it is constant: times are
    then exact multiples of its inverse, even where the container rounds them (Matroska: to milliseconds).
    ``by_time`` says whether a decoded frame is known by its time stamp, or only by counting from the first one.
    ``stamps`` (n,) int64 are those of the container where they are other ones than ``pts``, in which jumps are closed.
    """

    pts: np.ndarray
    keys: np.ndarray
    time_base: Fraction
    rate: Fraction | None
    end: int
    by_time: bool = True
    stamps: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pts)

    def time(self, index: int) -> Fraction:
        """Seconds from the first frame to frame ``index``."""
        if self.rate is not None:
            return index / self.rate
        return int(self.pts[index] - self.pts[0]) * self.time_base

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last."""
        if self.rate is not None:
            return len(self) / self.rate
        return int(self.end - self.pts[0]) * self.time_base

    @property
    def fps(self) -> Fraction:
        """The constant rate, or the average one."""
        return self.rate if self.rate is not None else len(self) / self.duration

    @property
    def interval(self) -> Fraction:
        """Seconds between neighbouring frames: the median."""
        if self.rate is not None or len(self) < 2:
            return 1 / self.fps
        return int(np.median(np.diff(self.pts))) * self.time_base or 1 / self.fps

    def stamp(self, index: int) -> int:
        """The container's time stamp of frame ``index``."""
        return int(self._stamps[index])

    def index_at(self, stamp: int) -> int:
        """Index of the frame whose stamp in the container is nearest to ``stamp``."""
        stamps = self._stamps
        right = int(np.searchsorted(stamps, stamp).clip(0, len(self) - 1))
        left = max(right - 1, 0)
        return left if stamp - stamps[left] < stamps[right] - stamp else right

    @property
    def _stamps(self) -> np.ndarray:
        return self.pts if self.stamps is None else self.stamps

    def key_before(self, index: int) -> int:
        """Index of the last key frame that is not after frame ``index``."""
        return int(self.keys[np.searchsorted(self.keys, index, side="right") - 1])


def timeline_from_packets(
    pts: np.ndarray,
    durations: np.ndarray,
    is_key: np.ndarray,
    time_base: Fraction,
    nominal_rates: Iterable[Fraction | None],
    stamps: np.ndarray | None = None,
) -> Timeline:
    """A timeline from time stamp, duration (int64, ticks) and kind (bool) of every packet, in any order, stamps all
    different and less than 2^62 ticks apart.

    ``nominal_rates`` are what the container claims; a claim is believed if it fits every time stamp. ``stamps`` are the
    container's own where ``pts`` are those of ``without_jumps``.
    """
    order = np.argsort(pts)
    stamps = None if stamps is None else stamps[order]
    pts, durations, is_key = pts[order], durations[order], is_key[order]
    keys = np.union1d(np.flatnonzero(is_key), [0])
    rates = [rate for rate in nominal_rates if rate]
    rate = constant_rate(pts, time_base, rates)
    last = int(durations[-1]) or (int(np.median(np.diff(pts))) if len(pts) > 1 else 0)
    if last <= 0:
        last = max(1, round(1 / ((rates[0] if rates else DEFAULT_RATE) * time_base)))
    if rate is None and len(pts) == 1:
        rate = 1 / (last * time_base)
    by_time = stamps is None or bool((np.diff(stamps) > 0).all())
    return Timeline(pts, keys if by_time else keys[:1], time_base, rate, int(pts[-1]) + last, by_time, stamps)


def without_jumps(pts: np.ndarray, dts: np.ndarray, time_base: Fraction) -> tuple[np.ndarray, list[Fraction]]:
    """``pts`` (n,) with jumps closed, and by how many seconds each jumped; both stamps in the order of the packets.

    For containers that carry broadcasts, whose clock may be set anew at any time: a decoding time that goes back, or on
    by more than ``LONGEST_PAUSE``, says nothing of how long a frame is shown. What follows is put after what is there.
    """
    steps = np.diff(dts)
    jumps = np.flatnonzero((steps < 0) | (steps > int(LONGEST_PAUSE / time_base))) + 1
    if not len(jumps):
        return pts, []
    usual = max(1, int(np.median(np.abs(steps))))
    parts = np.split(pts, jumps)
    closed, lengths = [parts[0]], []
    for before, part in pairwise(parts):
        lengths.append(int(part.min() - before.max() - usual) * time_base)
        closed.append(part - part.min() + closed[-1].max() + usual)
    return np.concatenate(closed), lengths


def counted_timeline(n_frames: int, rate: Fraction, n_keys: int = 1) -> Timeline:
    """A constant-rate timeline of frames that carry no time stamps; the first ``n_keys`` can be started from."""
    return Timeline(np.arange(n_frames), np.arange(n_keys), 1 / rate, rate, n_frames, by_time=False)


def _readings(claim: Fraction) -> list[Fraction]:
    """What a claimed rate may mean: the standard rate that it is an estimate of, or itself."""
    return [rate for rate in _STANDARD_RATES if abs(claim / rate - 1) < _ESTIMATE] + [claim]


def constant_rate(pts: np.ndarray, time_base: Fraction, nominal_rates: Iterable[Fraction]) -> Fraction | None:
    """The rate that explains every time stamp as a rounded multiple of its inverse, or None if there is none.

    A stamp may be off by one tick (container rounding), but never by more than an eighth of the frame interval.
    """
    steps = np.diff(pts)
    if len(steps) == 0:
        return next(iter(nominal_rates), None)
    index = np.arange(len(pts))
    for rate in chain.from_iterable(map(_readings, nominal_rates)):
        interval = 1 / (rate * time_base)  # ticks
        if interval.numerator * len(pts) > _LARGEST:  # no rate of a recording, on no clock of one
            continue
        tolerance = min(1.0, float(interval) / 8)
        # Exact in float64 up to 2^53 ticks: the product is an integer, divided once.
        ideal = index * interval.numerator / interval.denominator
        if np.abs(pts - pts[0] - ideal).max() <= tolerance + 1e-6:
            return rate
    if np.all(steps == steps[0]):
        return 1 / (int(steps[0]) * time_base)
    return None

"""The audio of a live stream, from whoever pushes it to the stages that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.errors import AudioError, LatentSyncError
from latentsync.features.live_features import LEVEL_SECONDS

ENDLESS = Fraction(10**9)  # s; longer than any stream
MOST_SECONDS = 3600  # of one push: what comes in larger pieces is a file
_RATES = range(8_000, 192_001)


class StreamClosedError(LatentSyncError):
    """The stream was closed while something waited for it, or used afterwards."""


class Resampler:
    """Pieces of audio of one rate into 16 kHz mono; the result does not depend on how it is cut into pieces."""

    def __init__(self, rate: int) -> None:
        """Raises ``AudioError`` for a rate that no sound card has."""
        if rate not in _RATES:
            raise AudioError(
                f"Audio of {rate} samples a second cannot be taken.",
                remedy=f"Send {_RATES[0]} to {_RATES[-1]} samples a second; 16000 need no work.",
            )
        self._rate = rate
        self._given = 0
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE)

    def convert(self, samples: np.ndarray) -> np.ndarray:
        """(n,) float32 of the rate -> (m,) float32 at 16 kHz, as much as can be said already."""
        if self._rate == AUDIO_RATE or not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._given
        frame.time_base = Fraction(1, self._rate)
        self._given += len(samples)
        return self._joined(self._resampler.resample(frame))

    def rest(self) -> np.ndarray:
        """What is left at the end."""
        return np.empty(0, np.float32) if not self._given else self._joined(self._resampler.resample(None))

    @staticmethod
    def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
        return np.concatenate([np.empty(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])


def mono(samples: np.ndarray) -> np.ndarray:
    """(n,) float32 in [-1, 1] of (n,) or (n, channels) float32 or int16. Raises ``AudioError`` for others."""
    samples = np.asarray(samples)
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768
    if samples.dtype != np.float32 or samples.ndim not in (1, 2) or len(samples) > MOST_SECONDS * AUDIO_RATE:
        raise AudioError(
            f"Audio is (n,) or (n, channels) float32 or int16, not {samples.dtype} of shape {samples.shape}.",
            remedy="Convert it before it is pushed.",
        )
    if not np.isfinite(samples).all():
        raise AudioError("The audio has samples that are not finite numbers.", remedy="Look at what records it.")
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


class AudioInput:
    """An ``AudioSource`` (``features.live_features``) that is filled by one thread and read by another.

    Kept are the samples after the last that was read, and ``LEVEL_SECONDS`` before it. ``most_waiting``: seconds of
    audio ahead of the reader from which ``append`` waits; None: it never does. It does not wait either while the reader
    itself waits for others (``let_in``).
    """

    duration = ENDLESS

    def __init__(self, most_waiting: Fraction | None = None) -> None:
        self._changed = threading.Condition()
        self._pieces: list[np.ndarray] = []
        self._arrived = 0  # samples
        self._dropped = 0  # samples before ``_pieces``
        self._wanted = 0  # the last sample that was waited for
        self._most_waiting = None if most_waiting is None else int(most_waiting * AUDIO_RATE)
        self._ended = self._closed = self._lets_in = False

    @property
    def arrived(self) -> int:
        """Samples so far."""
        with self._changed:
            return self._arrived

    @property
    def waiting(self) -> Fraction:
        """Seconds of audio that nobody has waited for yet."""
        with self._changed:
            return Fraction(max(0, self._arrived - self._wanted), AUDIO_RATE)

    def append(self, samples: np.ndarray) -> None:
        """Add (n,) float32 at 16 kHz. Raises ``StreamClosedError`` after the end."""
        with self._changed:
            if self._most_waiting is not None:
                limit = self._most_waiting
                self._changed.wait_for(lambda: self._closed or self._lets_in or self._arrived - self._wanted <= limit)
            if self._closed or self._ended:
                raise StreamClosedError("The stream has ended.", remedy="Begin a new one.")
            self._pieces.append(samples)
            self._arrived += len(samples)
            self._changed.notify_all()

    def let_in(self, all_of_it: bool) -> None:
        """Whether ``append`` takes all of the audio: the reader waits, maybe for whoever appends."""
        with self._changed:
            self._lets_in = all_of_it
            self._changed.notify_all()

    def end(self) -> None:
        """There is no more audio."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everybody who waits, with ``StreamClosedError``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def until(self, stop: int) -> int:
        """See ``AudioSource.until``."""
        with self._changed:
            self._wanted = max(self._wanted, stop)
            self._changed.notify_all()
            return self._wait(lambda arrived: arrived >= stop, stop)

    def lasts(self, time: Fraction) -> bool:
        """Whether the audio lasts until ``time`` seconds, as soon as that is known."""
        samples = -int(-time * AUDIO_RATE // 1)
        with self._changed:
            self._wanted = max(self._wanted, samples)  # or ``append`` would wait for a reader that waits for it
            self._changed.notify_all()
            return self._wait(lambda arrived: arrived >= samples, samples) >= samples

    def read(self, start: int, stop: int) -> np.ndarray:
        """See ``AudioSource.read``."""
        with self._changed:
            whole = np.concatenate([np.empty(0, np.float32), *self._pieces])
            old = max(0, stop - self._dropped - LEVEL_SECONDS * AUDIO_RATE)
            found = whole[start - self._dropped : stop - self._dropped]
            self._pieces, self._dropped = [whole[old:]], self._dropped + old
            return found

    def _wait(self, enough: Callable[[int], bool], stop: int) -> int:
        """``stop``, or where the audio ended before it; the lock is held."""
        self._changed.wait_for(lambda: self._closed or self._ended or enough(self._arrived))
        if self._closed:
            raise StreamClosedError("The stream was closed.", remedy="Begin a new one.")
        return min(stop, self._arrived)

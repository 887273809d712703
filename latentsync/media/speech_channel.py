"""Which channel of a recording the speech is in, where mixing the channels would lose it or color it.

Channels in opposite phase cancel out when they are mixed, and channels of which one is late cancel at some frequencies;
the dialogue of surround sound is in the centre, below the music of the others after mixing. Everything else is mixed.
It is judged once, by the first stretch of a file that is audible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from latentsync.errors import AudioError

_JUDGED_SECONDS = 10
_JUDGED_BYTES = 2**26  # held until it is judged, at most
_AUDIBLE = 1e-3  # root mean square, full scale 1
_CENTRE = 0.1  # the least level of the centre, over the loudest channel, that is taken for speech
_LOUDER = 1.1  # of two levels: less is no reason to prefer the second channel
_OPPOSITE = -0.5  # correlation of two channels that cancel for the most part
_SAME = 0.8  # correlation of two channels that hold the same, at some delay
_BETTER = 0.05  # by which correlation has to be better with a delay than without
_LONGEST_DELAY = 0.001  # seconds: a third of a metre between two microphones


@dataclass(slots=True)
class AudioFindings:
    """What is found while audio is read: stretches without audio, and whether one of its channels was taken."""

    channel: str = ""
    gaps: int = 0
    first_gap: Fraction = Fraction(0)  # s
    missing: Fraction = Fraction(0)  # s, of all gaps

    def gap(self, start: Fraction, seconds: Fraction) -> None:
        """Count a stretch of ``seconds`` without audio."""
        if not self.gaps:
            self.first_gap = start
        self.gaps, self.missing = self.gaps + 1, self.missing + seconds

    def notes(self, path: Path) -> list[str]:
        """Remarks for the user."""
        notes = [f"{path}: {self.channel}"] if self.channel else []
        if self.gaps:
            where = f"at {float(self.first_gap):.2f} s" if self.gaps == 1 else f"in {self.gaps} places"
            notes.append(f"{path}: {float(self.missing):.2f} s of sound are missing {where}, and silent in the result")
        return notes


def speech_frames(frames: Iterable[av.AudioFrame], findings: AudioFindings) -> Iterator[av.AudioFrame]:
    """The frames as they are, or one channel of each."""
    source = iter(frames)
    held: list[av.AudioFrame] = []
    channel: int | None = None
    for frame in source:
        held.append(frame)
        if frame.layout.nb_channels == 1:
            break
        seconds = sum(each.samples for each in held) / frame.sample_rate
        if seconds < _JUDGED_SECONDS and sum(_n_bytes(each) for each in held) < _JUDGED_BYTES:
            continue
        if _is_audible(held):
            break
        yield from held
        held = []
    if held and held[0].layout.nb_channels > 1 and _is_audible(held):
        channel, findings.channel = _chosen(held)
    for frame in held:
        yield frame if channel is None else _one_channel(frame, channel)
    for frame in source:
        yield frame if channel is None else _one_channel(frame, channel)


def named_channel(frames: Iterable[av.AudioFrame], channel: int, path: Path) -> Iterator[av.AudioFrame]:
    """One channel of the frames, counted from 0. Raises ``AudioError`` if the file at ``path`` has not so many."""
    for frame in frames:
        count = frame.layout.nb_channels
        if channel >= count:
            raise AudioError(
                f"{path} has no channel {channel}.", remedy=f"They are counted from 0: give one up to {count - 1}."
            )
        yield frame if count == 1 else _one_channel(frame, channel)


def _chosen(held: list[av.AudioFrame]) -> tuple[int | None, str]:
    """The channel that the speech is in, and how that is said; None for all of them."""
    names = [channel.name for channel in held[0].layout.channels]
    samples = _channels(held)
    levels = np.sqrt(np.mean(samples**2, axis=1))
    if "FC" in names and len(names) > 2 and levels[names.index("FC")] >= _CENTRE * levels.max():
        return names.index("FC"), "the mouth follows the centre channel"
    if len(names) != 2 or levels.min() == 0:
        return None, ""
    louder = int(levels[1] > _LOUDER * levels[0])
    at_once, best, delay = _correlations(np.diff(samples, axis=1), held[0].sample_rate)
    if at_once < _OPPOSITE:
        return louder, f"its two channels are in opposite phase: the mouth follows {_said(louder)}"
    if delay and best > max(_SAME, at_once + _BETTER):
        return louder, f"one of its two channels is late: the mouth follows {_said(louder)}"
    return None, ""


def _correlations(pair: np.ndarray, rate: int) -> tuple[float, float, int]:
    """Correlation of two channels (2, n) without a delay, the largest magnitude with one, and that delay in samples."""
    left, right = pair
    scale = float(np.linalg.norm(left) * np.linalg.norm(right)) or 1.0
    reach = max(1, round(_LONGEST_DELAY * rate))
    values = {}
    for lag in range(-reach, reach + 1):
        a, b = (left[lag:], right[: len(right) - lag]) if lag >= 0 else (left[:lag], right[-lag:])
        values[lag] = float(a @ b) / scale
    best = max(values, key=lambda lag: abs(values[lag]))
    return values[0], abs(values[best]), best


def _said(channel: int) -> str:
    return "the right one" if channel else "the left one"


def _is_audible(held: list[av.AudioFrame]) -> bool:
    return bool(np.sqrt(np.mean(_channels(held) ** 2, axis=1)).max() > _AUDIBLE)


def _channels(held: list[av.AudioFrame]) -> np.ndarray:
    """(channels, n) float32, full scale 1, of the frames that are like the first one."""
    first = held[0]
    like = [f for f in held if f.layout.name == first.layout.name and f.format.name == first.format.name]
    n_channels = first.layout.nb_channels
    samples = [f.to_ndarray() for f in like]
    if not first.format.is_planar:
        samples = [packed.reshape(-1, n_channels).T for packed in samples]
    joined = np.concatenate(samples, axis=1)
    if joined.dtype == np.uint8:
        return (joined.astype(np.float32) - 128) / 128
    full = 1.0 if joined.dtype.kind == "f" else 2.0 ** (8 * joined.dtype.itemsize - 1)
    return joined.astype(np.float32) / np.float32(full)


def _one_channel(frame: av.AudioFrame, channel: int) -> av.AudioFrame:
    samples: Any = frame.to_ndarray()
    n_channels = frame.layout.nb_channels
    if channel >= n_channels:
        return frame
    own = samples[channel : channel + 1] if frame.format.is_planar else samples[:, channel::n_channels]
    mono = av.AudioFrame.from_ndarray(np.ascontiguousarray(own), frame.format.name, "mono")
    mono.sample_rate, mono.pts, mono.time_base = frame.sample_rate, frame.pts, frame.time_base
    return mono


def _n_bytes(frame: av.AudioFrame) -> int:
    return frame.samples * frame.layout.nb_channels * frame.format.bytes

"""The audio of a scene: pieces of several files at their places, and between them what was there before.

Files are decoded once each into temporary files of samples, so memory does not depend on their lengths.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.errors import AudioError
from latentsync.media.audio import decode_audio, open_audio
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.speech_channel import named_channel

RATE = 48_000  # samples per second of the mix, in two channels of 16 bits
FADE = 0.01  # seconds over which pieces come and go, so that nothing clicks
_BLOCK = RATE  # samples that are mixed together


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio of ``path`` from ``offset`` seconds on, heard from ``start`` to ``stop`` seconds of the mix."""

    path: Path
    start: Fraction
    stop: Fraction
    offset: Fraction = Fraction(0)
    track: int | None = None
    channel: int | None = None


def write_mix(
    path: Path,
    seconds: Fraction,
    pieces: Sequence[Piece],
    base: Piece | None,
    silent: Sequence[tuple[Fraction, Fraction]],
    limits: MediaLimits = GENEROUS,
) -> None:
    """Write a WAV file of ``seconds`` seconds: the sum of the ``pieces``, and the ``base`` outside the ``silent``
    stretches. Temporary files stand beside it. Raises as ``media.audio.read_audio``."""
    decoded: dict[tuple[Path, int | None, int | None], np.ndarray] = {}
    sources = [(piece, [(piece.start, piece.stop)], True) for piece in pieces]
    sources += [] if base is None else [(base, list(silent), False)]
    for piece, _, _ in sources:
        key = (piece.path, piece.track, piece.channel)
        if key not in decoded:
            decoded[key] = _decoded(piece, path.with_name(f"{len(decoded)}.samples"), limits)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        total = round(seconds * RATE)
        for first in range(0, total, _BLOCK):
            times = np.arange(first, min(first + _BLOCK, total))
            block = np.zeros((len(times), 2), np.float32)
            for piece, stretches, inside in sources:
                gain = _gain(times / RATE, stretches, inside)
                if gain.any():
                    samples = decoded[piece.path, piece.track, piece.channel]
                    block += gain[:, None] * _taken(samples, times - round((piece.start - piece.offset) * RATE))
            out.writeframes(np.clip(np.rint(block), -32768, 32767).astype("<i2").tobytes())


def _gain(times: np.ndarray, stretches: Sequence[tuple[Fraction, Fraction]], inside: bool) -> np.ndarray:
    """(n,) float32: 1 inside the ``stretches`` and 0 outside, or the other way round, with short fades."""
    gain = np.zeros(len(times), np.float32)
    for start, stop in stretches:
        rising = np.minimum(times - float(start), float(stop) - times) / FADE
        gain = np.maximum(gain, np.clip(rising if inside else rising + 1, 0, 1).astype(np.float32))
    return gain if inside else 1 - gain


def _taken(samples: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n, 2): the samples at ascending ``places``; silence where there are none."""
    first, last = int(places[0]), int(places[-1]) + 1
    found = samples[max(first, 0) : max(last, 0)]
    before = min(max(-first, 0), len(places))
    return np.pad(found, ((before, len(places) - before - len(found)), (0, 0)))


def _decoded(piece: Piece, target: Path, limits: MediaLimits) -> np.ndarray:
    """(n, 2) int16 at 48 kHz, in a file."""
    with target.open("wb") as out:
        for block in _blocks(piece, limits):
            out.write(block.tobytes())
    return np.memmap(target, np.int16, mode="r").reshape(-1, 2)


def _blocks(piece: Piece, limits: MediaLimits) -> Iterator[np.ndarray]:
    """(n, 2) int16; one channel is heard on both sides, as loud as it is."""
    resampler: av.AudioResampler | None = None
    mono = False
    with open_audio(piece.path, limits, piece.track) as (container, stream):
        frames = decode_audio(container.demux(stream), stream, piece.path, limits)
        try:
            for frame in frames if piece.channel is None else named_channel(frames, piece.channel, piece.path):
                if resampler is None:
                    mono = frame.layout.nb_channels == 1
                    resampler = av.AudioResampler(format="s16", layout="mono" if mono else "stereo", rate=RATE)
                for part in resampler.resample(frame):
                    yield _sides(part, mono)
            for part in [] if resampler is None else resampler.resample(None):
                yield _sides(part, mono)
        except (ValueError, av.FFmpegError) as cause:
            raise AudioError(
                f"{piece.path}: its sound cannot be mixed ({cause}).", remedy="Convert it to a stereo WAV file first."
            ) from cause


def _sides(part: av.AudioFrame, mono: bool) -> np.ndarray:
    samples = part.to_ndarray().reshape(-1, 1 if mono else 2)
    return np.repeat(samples, 2, axis=1) if mono else samples

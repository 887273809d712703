"""Sound out of any file that FFmpeg reads, a video included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from latentsync.constants import AUDIO_RATE
from latentsync.errors import AudioError, NoAudioStreamError
from latentsync.media.container import open_input

_LONGEST_JUMP = Fraction(1, 20)  # seconds that time stamps may jump by without a part of the sound being lost
_EXACT_LENGTH = ("flac", "mov,mp4,m4a,3gp,3g2,mj2")  # containers whose header states the length of the sound exactly
_MISSING_END = 0.2  # seconds less than stated that may be due to rounding to packets
_REPAIR = "Re-encode it to WAV with a player or editor that opens it."


def read_audio(path: Path | str, rate: int = AUDIO_RATE) -> np.ndarray:
    """(n,) float32 in [-1, 1]: the sound of a file, mixed down to one channel, at ``rate`` samples per second.

    Goes through 16-bit samples, as the published code does (int16 / 32768), so a 16-bit mono file of that rate comes
    back bit for bit. Raises ``NoAudioStreamError`` for a file without a sample of sound, ``AudioError`` for one that
    cannot be read or is damaged in the middle.
    """
    return np.concatenate(list(audio_blocks(path, rate))).astype(np.float32) / 32768


def audio_blocks(path: Path | str, rate: int = AUDIO_RATE) -> Iterator[np.ndarray]:
    """The sound as ``read_audio`` gives it, piece by piece: (n,) int16. Raises as ``read_audio``."""
    path = Path(path)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with open_audio(path) as (container, stream):
        for frame in decode_audio(container.demux(stream), stream, path):
            try:
                yield from [part.to_ndarray()[0] for part in resampler.resample(frame)]
            except ValueError as cause:  # the resampler's set-up is that of the first frame
                raise AudioError(f"{path}: the format of the sound changes within the file.", remedy=_REPAIR) from cause
    yield from [part.to_ndarray()[0] for part in resampler.resample(None)]


def audio_start(path: Path | str) -> Fraction:
    """When the first sample is heard: seconds on the clock of the file. Raises as ``read_audio``."""
    with open_audio(Path(path)) as (_, stream):
        return (stream.start_time or 0) * stream.time_base


def read_pcm(path: Path | str) -> tuple[np.ndarray, int]:
    """(n, channels) samples as decoded, in the decoder's own number format, and the rate. Raises as ``read_audio``."""
    path = Path(path)
    parts = []
    with open_audio(path) as (container, stream):
        for frame in decode_audio(container.demux(stream), stream, path):
            samples = frame.to_ndarray()
            parts.append(samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1))
        return np.concatenate(parts), stream.sample_rate


@contextmanager
def open_audio(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The container of a file and its sound track; raises as ``read_audio``."""
    with open_input(path, AudioError) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise NoAudioStreamError(f"{path} has no sound track.", remedy="Name a file that has sound.")
        if stream.codec_context is None:
            raise AudioError(f"{path}: FFmpeg has no decoder for its sound.", remedy=_REPAIR)
        yield container, stream


def decode_audio(packets: Iterable[av.Packet], stream: AudioStream, path: Path) -> Iterator[av.AudioFrame]:
    """All frames of a sound track, at least one, from all of its packets (``container.demux(stream)``).

    Rubbish before the first and after the last sound is passed over, as players do; damage in between would shift the
    rest in time and is an ``AudioError``. A track without a sample is a ``NoAudioStreamError``.
    """
    n_samples, damaged, expected = 0, False, (stream.start_time or 0) * stream.time_base
    try:
        for packet in packets:
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                damaged = n_samples > 0
                continue
            for frame in (frame for frame in frames if frame.samples):
                start = expected if frame.pts is None else frame.pts * frame.time_base
                if damaged or start - expected > _LONGEST_JUMP:
                    raise _damage(path, n_samples / stream.sample_rate)
                n_samples += frame.samples
                expected = start + Fraction(frame.samples, frame.sample_rate)
                yield frame
    except av.FFmpegError as cause:
        raise _damage(path, n_samples / stream.sample_rate) from cause
    if n_samples == 0:
        raise NoAudioStreamError(f"{path}: its sound track holds no sample.", remedy="Name a file that has sound.")
    seconds = n_samples / stream.sample_rate
    if stream.container.format.name in _EXACT_LENGTH and stream.duration is not None:
        stated = float(stream.duration * stream.time_base)
        if seconds < stated - _MISSING_END:
            raise AudioError(
                f"{path} is cut short: {seconds:.2f} of {stated:.2f} s of sound are there.",
                remedy="Get the file again.",
            )


def _damage(path: Path, seconds: float) -> AudioError:
    return AudioError(f"{path}: the sound is damaged at {seconds:.2f} s.", remedy=_REPAIR)

"""Sound out of any file that FFmpeg reads, a video included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from latentsync.constants import AUDIO_RATE
from latentsync.errors import AudioError, NoAudioStreamError
from latentsync.media.container import open_input

_REPAIR = "Re-encode it to WAV with a player or editor that opens it."


def read_audio(path: Path | str, rate: int = AUDIO_RATE) -> np.ndarray:
    """(n,) float32 in [-1, 1]: the sound of a file, mixed down to one channel, at ``rate`` samples per second.

    Goes through 16-bit samples, as the published code does (int16 / 32768), so a 16-bit mono file of that rate comes
    back bit for bit. Raises ``NoAudioStreamError`` for a file without a sample of sound, ``AudioError`` for one that
    cannot be read or is damaged in the middle.
    """
    path = Path(path)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    parts = []
    with open_audio(path) as (container, stream):
        for frame in decode_audio(container, stream, path):
            try:
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            except ValueError as cause:  # the resampler's set-up is that of the first frame
                raise AudioError(f"{path}: the format of the sound changes within the file.", remedy=_REPAIR) from cause
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts).astype(np.float32) / 32768


def read_pcm(path: Path | str) -> tuple[np.ndarray, int]:
    """(n, channels) samples as decoded, in the decoder's own number format, and the rate. Raises as ``read_audio``."""
    path = Path(path)
    parts = []
    with open_audio(path) as (container, stream):
        for frame in decode_audio(container, stream, path):
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


def decode_audio(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[av.AudioFrame]:
    """All frames of a sound track, at least one.

    Rubbish before the first and after the last sound is passed over, as players do; damage in between would shift the
    rest in time and is an ``AudioError``. A track without a sample is a ``NoAudioStreamError``.
    """
    n_samples, damaged = 0, False
    try:
        for packet in container.demux(stream):
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                damaged = n_samples > 0
                continue
            for frame in frames:
                if damaged and frame.samples:
                    raise _damage(path, n_samples / stream.sample_rate)
                n_samples += frame.samples
                if frame.samples:
                    yield frame
    except av.FFmpegError as cause:
        raise _damage(path, n_samples / stream.sample_rate) from cause
    if n_samples == 0:
        raise NoAudioStreamError(f"{path}: its sound track holds no sample.", remedy="Name a file that has sound.")


def _damage(path: Path, seconds: float) -> AudioError:
    return AudioError(f"{path}: the sound is damaged at {seconds:.2f} s.", remedy=_REPAIR)

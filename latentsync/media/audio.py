"""Audio out of any file that FFmpeg reads, a video included."""

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
from latentsync.media.container import in_seconds, open_input
from latentsync.media.limits import GENEROUS, MediaLimits, refuse_rate

_LONGEST_JUMP = Fraction(1, 20)  # seconds that time stamps may jump by without a part of the audio being lost
_EXACT_LENGTH = ("flac", "mov,mp4,m4a,3gp,3g2,mj2")  # containers whose header states the length of the audio exactly
_LARGEST_PACKET = 2**26  # bytes; three minutes of PCM in stereo
_PADDING = 1  # seconds that codecs may add to the length of a file at its ends
_MISSING_END = 0.2  # seconds less than stated that may be due to rounding to packets
_REPAIR = "Re-encode it to WAV with a player or editor that opens it."


def read_audio(path: Path | str, rate: int = AUDIO_RATE, limits: MediaLimits = GENEROUS) -> np.ndarray:
    """(n,) float32 in [-1, 1]: the audio of a file, mixed down to one channel, at ``rate`` samples per second.

    Goes through 16-bit samples, as the published code does (int16 / 32768), so a 16-bit mono file of that rate comes
    back bit for bit. Raises ``NoAudioStreamError`` for a file without a sample of audio, ``AudioError`` for one that
    cannot be read, is damaged in the middle, or holds more than ``limits`` let be held in memory.
    """
    waveform = bytearray()  # grows in place
    for block in _blocks(Path(path), rate, limits, held=True):
        waveform += np.divide(block, 32768, dtype=np.float32).data
    return np.frombuffer(waveform, np.float32)


def audio_blocks(path: Path | str, rate: int = AUDIO_RATE, limits: MediaLimits = GENEROUS) -> Iterator[np.ndarray]:
    """The audio as ``read_audio`` gives it, piece by piece: (n,) int16. Raises as ``read_audio``, at the sample that
    is one too many."""
    yield from _blocks(Path(path), rate, limits, held=False)


def _blocks(path: Path, rate: int, limits: MediaLimits, held: bool) -> Iterator[np.ndarray]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with open_audio(path, limits) as (container, stream):
        for frame in decode_audio(container.demux(stream), stream, path, limits, held):
            try:
                parts = resampler.resample(frame)
            except ValueError as cause:  # the resampler's set-up is that of the first frame
                raise AudioError(f"{path}: the format of the sound changes within the file.", remedy=_REPAIR) from cause
            except av.FFmpegError as cause:
                channels = frame.layout.nb_channels
                raise AudioError(f"{path}: {channels} channels cannot be mixed down to one.", remedy=_REPAIR) from cause
            yield from [part.to_ndarray()[0] for part in parts]
    yield from [part.to_ndarray()[0] for part in resampler.resample(None)]


def audio_start(path: Path | str) -> Fraction:
    """When the first sample is played: seconds on the clock of the file. Raises as ``read_audio``."""
    with open_audio(Path(path)) as (_, stream):
        return in_seconds(stream.start_time, stream.time_base)


@contextmanager
def open_audio(path: Path, limits: MediaLimits = GENEROUS) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The container of a file and its audio stream; raises as ``read_audio``."""
    with open_input(path, AudioError, limits.audio_formats, limits.pixels) as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            raise NoAudioStreamError(f"{path} has no sound track.", remedy="Name a file that has sound.")
        if stream.codec_context is None:
            raise AudioError(f"{path}: FFmpeg has no decoder for its sound.", remedy=_REPAIR)
        yield container, stream


def decode_audio(
    packets: Iterable[av.Packet],
    stream: AudioStream,
    path: Path,
    limits: MediaLimits = GENEROUS,
    held: bool = False,
) -> Iterator[av.AudioFrame]:
    """All frames of an audio stream, at least one, from all of its packets (``container.demux(stream)``).

    Rubbish before the first and after the last sample is passed over, as players do; damage in between would shift the
    rest in time and is an ``AudioError``. A stream without a sample is a ``NoAudioStreamError``. The seconds that have
    come out count towards ``limits``, for audio that is ``held`` in memory or not: packets and headers may say less.
    """
    decoded, damaged, expected = Fraction(0), False, in_seconds(stream.start_time, stream.time_base)
    try:
        for packet in packets:
            limits.on_packet()
            if packet.size > _LARGEST_PACKET:
                raise AudioError(f"{path} has {packet.size >> 20} MB of audio in one packet.", remedy=_REPAIR)
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                damaged = decoded > 0
                continue
            for frame in (frame for frame in frames if frame.samples):
                refuse_rate(frame.sample_rate, path)
                start = expected if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
                if damaged or start - expected > _LONGEST_JUMP:
                    raise _damage(path, decoded)
                duration = Fraction(frame.samples, frame.sample_rate)
                decoded += duration
                limits.refuse_long(decoded - _PADDING, path, AudioError, held)
                expected = start + duration
                yield frame
    except av.FFmpegError as cause:
        raise _damage(path, decoded) from cause
    if decoded == 0:
        raise NoAudioStreamError(f"{path}: its sound track holds no sample.", remedy="Name a file that has sound.")
    if stream.container.format.name in _EXACT_LENGTH and stream.duration is not None:
        stated = float(in_seconds(stream.duration, stream.time_base))
        if decoded < stated - _MISSING_END:
            raise AudioError(
                f"{path} is cut short: {float(decoded):.2f} of {stated:.2f} s of sound are there.",
                remedy="Get the file again.",
            )


def _damage(path: Path, seconds: Fraction) -> AudioError:
    return AudioError(f"{path}: the sound is damaged at {float(seconds):.2f} s.", remedy=_REPAIR)

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
from av.stream import Disposition

from latentsync.constants import AUDIO_RATE
from latentsync.errors import AudioError, NoAudioStreamError
from latentsync.media.container import clock_may_jump, in_seconds, open_input
from latentsync.media.limits import GENEROUS, MediaLimits, refuse_rate
from latentsync.media.speech_channel import AudioFindings, named_channel, speech_frames
from latentsync.media.timeline import LONGEST_PAUSE

_LONGEST_JUMP = Fraction(1, 20)  # seconds that may be missing before silence is put in their place
_JITTER = Fraction(1, 200)  # seconds that time stamps may be off by, for rounding or for a clock that runs otherwise
_FLOATS = ("flt", "fltp", "dbl", "dblp")
_LOUDEST = 100.0  # full scale 1: far above what an encoder or a mixer leaves, far below integers kept as floats
_EXACT_LENGTH = ("flac", "mov,mp4,m4a,3gp,3g2,mj2")  # containers whose header states the length of the audio exactly
_LARGEST_PACKET = 2**26  # bytes; three minutes of PCM in stereo
_PADDING = 1  # seconds that codecs may add to the length of a file at its ends
_MISSING_END = 0.2  # seconds less than stated that may be due to rounding to packets
_REPAIR = "Re-encode it to WAV with a player or editor that opens it."


def read_audio(
    path: Path | str,
    rate: int = AUDIO_RATE,
    limits: MediaLimits = GENEROUS,
    *,
    track: int | None = None,
    channel: int | None = None,
    as_published: bool = False,
    findings: AudioFindings | None = None,
) -> np.ndarray:
    """(n,) float32 in [-1, 1]: the audio of a file, mixed down to one channel, at ``rate`` samples per second.

    Goes through 16-bit samples, as the published code does (int16 / 32768), so a 16-bit mono file of that rate comes
    back bit for bit. Where mixing would lose the speech, one channel is taken (``media.speech_channel``), unless
    ``as_published``. Stretches without audio, by the time stamps, are silence. ``track`` counts the audio tracks of the
    file from 0; None: the one that players take. ``channel``: of the track, from 0; None: all of them. ``findings`` is
    filled.

    Raises ``NoAudioStreamError`` for a file without a sample of audio, ``AudioError`` for one that cannot be read, is
    damaged in the middle, holds values that are no audio, or more than ``limits`` let be held in memory.
    """
    waveform = bytearray()  # grows in place
    for block in _blocks(Path(path), rate, limits, True, track, channel, as_published, findings):
        waveform += np.divide(block, 32768, dtype=np.float32).data
    return np.frombuffer(waveform, np.float32)


def audio_blocks(
    path: Path | str,
    rate: int = AUDIO_RATE,
    limits: MediaLimits = GENEROUS,
    findings: AudioFindings | None = None,
) -> Iterator[np.ndarray]:
    """The audio as ``read_audio`` gives it, piece by piece: (n,) int16. Raises as ``read_audio``, at the sample that
    is one too many."""
    yield from _blocks(Path(path), rate, limits, False, None, None, False, findings)


def _blocks(
    path: Path,
    rate: int,
    limits: MediaLimits,
    held: bool,
    track: int | None,
    channel: int | None,
    as_published: bool,
    findings: AudioFindings | None,
) -> Iterator[np.ndarray]:
    resampler, findings = av.AudioResampler(format="s16", layout="mono", rate=rate), findings or AudioFindings()
    with open_audio(path, limits, track) as (container, stream):
        frames = decode_audio(container.demux(stream), stream, path, limits, held, findings)
        if channel is not None:
            frames = named_channel(frames, channel, path)
        for frame in frames if as_published or channel is not None else speech_frames(frames, findings):
            try:
                parts = resampler.resample(frame)
            except ValueError as cause:  # the resampler's set-up is that of the first frame
                raise AudioError(f"{path}: the format of the sound changes within the file.", remedy=_REPAIR) from cause
            except av.FFmpegError as cause:
                channels = frame.layout.nb_channels
                raise AudioError(f"{path}: {channels} channels cannot be mixed down to one.", remedy=_REPAIR) from cause
            yield from [part.to_ndarray()[0] for part in parts]
    yield from [part.to_ndarray()[0] for part in resampler.resample(None)]


def audio_seconds(path: Path | str, track: int | None = None) -> Fraction:
    """How long the audio of a file is, as its header says; only where it says nothing is it decoded. Raises as
    ``read_audio``."""
    with open_audio(Path(path), track=track) as (container, stream):
        if stream.duration:
            return in_seconds(stream.duration, stream.time_base)
        if container.duration:
            return Fraction(container.duration, av.time_base)
    return Fraction(len(read_audio(path, track=track)), AUDIO_RATE)


def audio_start(path: Path | str, track: int | None = None) -> Fraction:
    """When the first sample is played: seconds on the clock of the file. Raises as ``read_audio``."""
    with open_audio(Path(path), track=track) as (_, stream):
        return in_seconds(stream.start_time, stream.time_base)


def audio_delay(path: Path | str, track: int | None = None) -> Fraction:
    """Seconds by which the audio of a file begins after its video, negative where it begins before; 0 without video.

    Raises as ``read_audio``.
    """
    with open_audio(Path(path), track=track) as (container, stream):
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos or videos[0].start_time is None or stream.start_time is None:
            return Fraction(0)
        begins = in_seconds(videos[0].start_time, videos[0].time_base)
        return in_seconds(stream.start_time, stream.time_base) - begins


@contextmanager
def open_audio(
    path: Path, limits: MediaLimits = GENEROUS, track: int | None = None
) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The container of a file and one of its audio streams; raises as ``read_audio``."""
    with open_input(path, AudioError, limits.audio_formats, limits.pixels) as container:
        tracks = container.streams.audio
        stream = container.streams.best("audio") if track is None else None
        if track is not None and tracks:
            if not 0 <= track < len(tracks):
                raise AudioError(
                    f"{path} has no audio track {track}.",
                    remedy=f"They are counted from 0: give --audio_track from 0 to {len(tracks) - 1}.",
                )
            stream = tracks[track]
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
    findings: AudioFindings | None = None,
) -> Iterator[av.AudioFrame]:
    """All frames of an audio stream, at least one, from all of its packets (``container.demux(stream)``).

    Where the time stamps leave a gap, as recordings of meetings and broadcasts do, or packets are damaged, frames of
    silence fill it. Rubbish before the first and after the last sample is passed over, as players do; damage that no
    time stamp tells the length of would shift the rest in time and is an ``AudioError``, and so are values that are no
    audio. A stream without a sample is a ``NoAudioStreamError``. The seconds that have come out count towards
    ``limits``, for audio that is ``held`` in memory or not: packets and headers may say less.
    """
    decoded, damaged, findings = Fraction(0), False, findings or AudioFindings()
    gaps = _Gaps(in_seconds(stream.start_time, stream.time_base), clock_may_jump(stream.container))
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
                missing = gaps.before(frame, Fraction(0) if damaged else _LONGEST_JUMP)
                if damaged and not missing:
                    raise _damage(path, decoded)
                damaged = False
                if missing:
                    findings.gap(decoded, missing)
                    limits.refuse_long(decoded + missing - _PADDING, path, AudioError, held)
                    yield from silence_like(frame, missing)
                    decoded += missing
                if frame.format.name in _FLOATS:
                    _refuse_values(frame, path, decoded)
                decoded += Fraction(frame.samples, frame.sample_rate)
                limits.refuse_long(decoded - _PADDING, path, AudioError, held)
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


class _Gaps:
    """Finds where the time stamps of a stream leave a gap. ``jumping``: see ``container.clock_may_jump``."""

    def __init__(self, start: Fraction, jumping: bool) -> None:
        self._expected, self._jumping = start, jumping
        self._missing = Fraction(0)

    def before(self, frame: av.AudioFrame, least: Fraction) -> Fraction:
        """Seconds that are missing before the next frame of the stream: 0, or more than ``least``."""
        start = self._expected if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        jump = start - self._expected
        self._expected = start + Fraction(frame.samples, frame.sample_rate)
        if abs(jump) > _JITTER and not (self._jumping and not -LONGEST_PAUSE < jump <= LONGEST_PAUSE):
            self._missing = max(self._missing + jump, Fraction(0))
        if self._missing <= least:
            return Fraction(0)
        missing, self._missing = self._missing, Fraction(0)
        return missing


def silence_like(frame: av.AudioFrame, seconds: Fraction) -> Iterator[av.AudioFrame]:
    """Silent frames of the same kind, of up to a second each, ``seconds`` together."""
    left = round(seconds * frame.sample_rate)
    level = 128 if frame.format.name.startswith("u8") else 0
    while left > 0:
        count, channels = min(left, frame.sample_rate), frame.layout.nb_channels
        shape = (channels, count) if frame.format.is_planar else (1, count * channels)
        samples = np.full(shape, level, frame.to_ndarray().dtype)
        silence = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
        silence.sample_rate = frame.sample_rate
        left -= count
        yield silence


def _refuse_values(frame: av.AudioFrame, path: Path, start: Fraction) -> None:
    """Raise ``AudioError`` for floats that are no audio; ``start``: seconds before the frame."""
    samples = frame.to_ndarray()
    if np.abs(samples).max() <= _LOUDEST:  # not, where one of them is no number
        return
    wrong = int(np.flatnonzero(~(np.abs(samples) <= _LOUDEST).all(0))[0])
    second = float(start) + wrong / (1 if frame.format.is_planar else frame.layout.nb_channels) / frame.sample_rate
    peak = float(np.abs(samples[:, wrong]).max())
    values = f"values of {peak:g}, where 1 is full scale" if np.isfinite(peak) else "values that are no numbers"
    raise AudioError(
        f"{path}: at {second:.2f} s its sound holds {values}.",
        remedy="Export it again with 16 bits, and cut that part out if it is noise.",
    )


def _damage(path: Path, seconds: Fraction) -> AudioError:
    return AudioError(f"{path}: the sound is damaged at {float(seconds):.2f} s.", remedy=_REPAIR)

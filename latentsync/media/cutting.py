"""Cutting files of ours without encoding their video again, and giving a video other audio.

Video is cut at key frames and copied as it is; audio is cut to the sample and kept without loss (FLAC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from latentsync.constants import AUDIO_RATE
from latentsync.errors import VideoError
from latentsync.media.audio import audio_blocks
from latentsync.media.container import file_url, in_seconds, open_input, video_stream
from latentsync.media.writer import output_error

_INDEX_FIRST = {"movflags": "+faststart"}  # so that a browser can play the file while it loads


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames ``start`` to ``stop - 1``, to be written to ``path``, which must not exist."""

    start: int
    stop: int
    path: Path


def cut(source: Path, pieces: Sequence[Piece], fps: Fraction) -> None:
    """Write ``pieces`` of ``source``, which has the constant rate ``fps`` and a whole number of samples to a frame.

    Pieces are in order and do not overlap; each begins at a key frame that was asked for when the file was written,
    and ends before another one or with the file.
    One pass over the file in constant memory. A file that cannot be finished stays behind, so write to a folder that is
    thrown away then. Raises ``VideoError`` if a piece does not begin at a key frame or is not there to its end, and as
    ``write_video`` does for the files that are written.
    """
    samples = _per_frame(fps)
    audio, read = AudioReader(audio_blocks(source)), 0  # up to which frame
    with open_input(source, VideoError) as container:
        stream = video_stream(container, source)
        packets = _Lookahead(_numbered(container.demux(stream), stream, fps))
        for piece in pieces:
            packets.skip_to(piece.start)
            audio.skip((piece.start - read) * samples)
            read = piece.stop
            _write(piece.path, stream, packets.piece(piece, source), lambda: audio.read(samples))


def replace_audio(source: Path, waveform: np.ndarray, target: Path) -> None:
    """Write the video of ``source`` as it is, with ``waveform`` (n,) int16, 16 kHz, as its audio, to ``target``.

    The rate of ``source`` is constant. Audio beyond the last frame is left out, missing audio is silence.

    Raises ``VideoError`` for a source without video, and as ``write_video`` does for the target.
    """
    audio = AudioReader([waveform])
    with open_input(source, VideoError) as container:
        stream = video_stream(container, source)
        packets = (packet for packet in container.demux(stream) if packet.size)
        if stream.average_rate is None:
            raise VideoError(f"{source} states no frame rate.", remedy="Make the file again.")
        samples = _per_frame(stream.average_rate)
        _write(target, stream, packets, lambda: audio.read(samples))


def write_flac(path: Path, blocks: Iterable[np.ndarray]) -> None:
    """Write 16 kHz audio, pieces (n,) int16, as FLAC. Raises as ``write_video`` does for a file that is written."""
    with _named_errors(path), av.open(file_url(path), "w", format="flac") as out:
        track = _Flac(out)
        for block in blocks:
            out.mux(track.encode(block))
        out.mux(track.flush())


class AudioReader:
    """Samples in order, any number at a time; silence after the last."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = iter(blocks)
        self._rest = np.zeros(0, np.int16)

    def read(self, count: int) -> np.ndarray:
        """The next ``count`` samples, int16."""
        parts = list(self._taken(count))
        missing = count - sum(len(part) for part in parts)
        return np.concatenate([*parts, np.zeros(missing, np.int16)])

    def skip(self, count: int) -> None:
        """Pass over ``count`` samples."""
        for _ in self._taken(count):
            pass

    def _taken(self, count: int) -> Iterator[np.ndarray]:
        """The next samples, ``count`` or as many as there are."""
        while count > 0:
            if not len(self._rest):
                block = next(self._blocks, None)
                if block is None:
                    return
                self._rest = block
            part, self._rest = self._rest[:count], self._rest[count:]
            count -= len(part)
            yield part


class _Flac:
    """A mono audio stream at 16 kHz."""

    def __init__(self, out: OutputContainer) -> None:
        self._stream: AudioStream = out.add_stream("flac", rate=AUDIO_RATE, layout="mono")
        self._stream.format = "s16"
        self._position = 0

    def encode(self, samples: np.ndarray) -> list[av.Packet]:
        if not len(samples):
            return []
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, self._position, Fraction(1, AUDIO_RATE)
        self._position += len(samples)
        return self._stream.encode(frame)

    def flush(self) -> list[av.Packet]:
        return self._stream.encode(None)


def _per_frame(fps: Fraction) -> int:
    samples = AUDIO_RATE / fps
    if samples.denominator != 1:
        raise ValueError(f"a frame at {fps} per second does not last a whole number of samples")
    return int(samples)


def _numbered(packets: Iterable[av.Packet], stream: VideoStream, fps: Fraction) -> Iterator[tuple[int, av.Packet]]:
    """Packets in decoding order with the number of the frame that they show."""
    origin = in_seconds(stream.start_time, stream.time_base)
    for packet in packets:
        if packet.size:
            yield round((in_seconds(packet.pts, packet.time_base) - origin) * fps), packet


class _Lookahead:
    """Numbered packets, of which the next one may be looked at before it is taken."""

    def __init__(self, packets: Iterator[tuple[int, av.Packet]]) -> None:
        self._packets = packets
        self._next = next(packets, None)

    def skip_to(self, number: int) -> None:
        while self._next is not None and self._next[0] < number:
            self._next = next(self._packets, None)

    def piece(self, piece: Piece, source: Path) -> Iterator[av.Packet]:
        """The packets of ``piece``, all of them."""
        count, whole = 0, self._next is not None and self._next[1].is_keyframe
        while whole and self._next is not None and self._next[0] < piece.stop:
            yield self._next[1]
            count += 1
            self._next = next(self._packets, None)
        if count != piece.stop - piece.start:
            raise VideoError(
                f"{source} cannot be cut to frames {piece.start} to {piece.stop - 1}: they are not there, or do not "
                "begin with a key frame.",
                remedy="Make the file again.",
            )


def _write(path: Path, stream: VideoStream, packets: Iterable[av.Packet], audio: Callable[[], np.ndarray]) -> None:
    """One file from packets of ``stream``; ``audio`` gives the samples of one frame after the other."""
    first: int | None = None
    with _named_errors(path), av.open(file_url(path), "w", format="mp4", container_options=_INDEX_FIRST) as out:
        video, track = out.add_stream_from_template(stream), _Flac(out)
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                raise VideoError(f"{path}: a packet of its source has no time stamp.", remedy="Make the source again.")
            first = packet.pts if first is None else first
            packet.pts, packet.dts = packet.pts - first, packet.dts - first
            packet.stream = video
            out.mux(packet)
            out.mux(track.encode(audio()))
        out.mux(track.flush())


@contextmanager
def _named_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise output_error(target, cause) from cause

"""The boxes of MP4 and MOV files (ISO/IEC 14496-12), as far as they must be known before FFmpeg opens one.

FFmpeg makes an entry in memory for every sample that the index promises. A few bytes can promise four thousand
million: samples of one size need no table, and a table of zeros packs well where the header is compressed ('cmov').
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn

from latentsync.errors import AudioError, VideoError

_UNKNOWN_LENGTH = 2**32 - 1  # in 'mvhd': the length is not stated
_MOST_BOXES = 400_000  # of one file; 12 hours in fragments of a second have as many
_MOST_SAMPLES = 2**23  # of one file, 36 bytes of FFmpeg's memory each; 24 hours of video and audio have 6 million
_MOST_HEADER = 2**24  # bytes of a compressed header, unpacked
_MOST_RUNS = 2**20  # of chunks with equally many samples, of a track
_DEEPEST = 12  # boxes inside each other; FFmpeg goes 10 deep
_PACKET_SAMPLES = 1024  # of PCM, for which FFmpeg makes one entry
_PARENTS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"dinf", b"udta"}
)
_HIDING = frozenset({b"free", b"hoov"})  # in which FFmpeg looks for a header where there is none elsewhere
_HIDDEN = frozenset({b"mvhd", b"cmov"})


@dataclass(frozen=True, slots=True)
class Box:
    """``kind`` as in the file, where its content lies, and whether it is there to its last byte."""

    kind: bytes
    start: int
    end: int
    whole: bool


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """The boxes between two positions, in order; the last one may be cut short."""
    position = start
    while position + 8 <= end:
        file.seek(position)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:  # a 64-bit size follows
            size, header = int.from_bytes(file.read(8), "big"), 16
        elif size == 0:  # up to the end of the file
            size = end - position
        if size < header:
            return
        yield Box(kind, position + header, min(position + size, end), position + size <= end)
        position += size


def has_index(path: Path) -> bool:
    """Whether a file has a whole 'moov' box."""
    with path.open("rb") as file:
        return any(box.kind == b"moov" and box.whole for box in _top(file, path))


def seconds_in_header(path: Path) -> float:
    """The length in the 'mvhd' box, which players show and FFmpeg corrects; 0 without such a box, or if not stated.

    Section 8.2.2: version, flags, times of creation and change, units per second, length in units.
    """
    with path.open("rb") as file:
        for moov in (box for box in _top(file, path) if box.kind == b"moov"):
            for mvhd in (box for box in boxes(file, moov.start, moov.end) if box.kind == b"mvhd"):
                data = _content(file, mvhd, 36).ljust(36, b"\0")
                layout = ">4x16xIQ" if data[0] == 1 else ">4x8xII"
                scale, length = struct.unpack_from(layout, data)
                return length / scale if scale and length < _UNKNOWN_LENGTH else 0.0
    return 0.0


def refuse_large_index(path: Path, error: type[VideoError] | type[AudioError]) -> None:
    """Raise ``error`` if the index of an MP4 file promises more samples than a day has; files of other kinds pass."""
    with path.open("rb") as file:
        index = _Index(path, error)
        index.add(file, 0, path.stat().st_size)
        index.close_track()


def _top(file: BinaryIO, path: Path) -> Iterator[Box]:
    return islice(boxes(file, 0, path.stat().st_size), _MOST_BOXES)


def _content(file: BinaryIO, box: Box, most: int) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, most))


@dataclass(slots=True)
class _Track:
    """What the boxes of a track say of its samples (sections 8.4.3, 8.6.1, 8.7)."""

    handler: bytes = b""
    samples: int = 0
    durations: tuple[int, int] = (0, 0)  # entries of 'stts', and the first one's ticks
    runs: list[tuple[int, int]] = field(default_factory=list)  # 'stsc': number of the first chunk, samples in each
    chunks: int = 0

    def entries(self) -> int:
        """How many FFmpeg makes: for each sample, or for each packet of PCM, whose samples last a tick each."""
        if self.handler != b"soun" or self.durations != (1, 1):
            return self.samples
        ends = [first for first, _ in self.runs[1:]] + [self.chunks + 1]
        runs = zip(self.runs, ends, strict=True)
        return sum(max(0, end - first) * (samples // _PACKET_SAMPLES + 1) for (first, samples), end in runs)


class _Index:
    """The samples that the boxes of a file promise."""

    def __init__(self, path: Path, error: type[VideoError] | type[AudioError]) -> None:
        self._path, self._error = path, error
        self._boxes = self._samples = 0
        self._track = _Track()

    def add(self, file: BinaryIO, start: int, end: int, depth: int = 0) -> None:
        """Take in all boxes between two positions of ``file``, with those inside of them."""
        for box in boxes(file, start, end):
            self._boxes += 1
            if self._boxes > _MOST_BOXES:
                self._refuse(f"more than {_MOST_BOXES:,} boxes")
            if box.kind == b"trak":
                self.close_track()
            if box.kind == b"cmov":
                self._unpack(file, box, depth)
            elif depth < _DEEPEST and (box.kind in _PARENTS or _hides_header(file, box)):
                self.add(file, box.start, box.end, depth + 1)
            else:
                self._read(file, box)

    def close_track(self) -> None:
        """Count the samples of the track that was read last."""
        self._promise(self._track.entries())
        self._track = _Track()

    def _read(self, file: BinaryIO, box: Box) -> None:
        track = self._track
        if box.kind == b"hdlr":
            track.handler = _content(file, box, 12)[8:12]
        elif box.kind in (b"stsz", b"stz2"):
            track.samples = max(track.samples, _number(file, box, 8))
        elif box.kind == b"stts":
            track.durations = _number(file, box, 4), _number(file, box, 12)
        elif box.kind == b"stsc":
            table = _content(file, box, 8 + 12 * _MOST_RUNS)[8:]
            track.runs = list(struct.iter_unpack(">II4x", table[: len(table) // 12 * 12]))
        elif box.kind in (b"stco", b"co64"):
            track.chunks = max(track.chunks, _number(file, box, 4))
        elif box.kind == b"trun":
            self._promise(_number(file, box, 4))

    def _unpack(self, file: BinaryIO, box: Box, depth: int) -> None:
        for inner in boxes(file, box.start, box.end):
            if inner.kind == b"cmvd":
                packed = _content(file, inner, _MOST_HEADER)[4:]
                try:
                    header = zlib.decompressobj().decompress(packed, _MOST_HEADER)
                except zlib.error:  # FFmpeg will say so
                    return
                if max(len(header), _number(file, inner, 0)) >= _MOST_HEADER or depth >= _DEEPEST:
                    self._refuse(f"a compressed header of more than {_MOST_HEADER / 1e6:.0f} MB")
                self.add(io.BytesIO(header), 0, len(header), depth + 1)

    def _promise(self, samples: int) -> None:
        self._samples += samples
        if self._samples > _MOST_SAMPLES:
            self._refuse(f"more than {_MOST_SAMPLES:,} samples")

    def _refuse(self, what: str) -> NoReturn:
        raise self._error(f"{self._path} promises {what}: its index is false.", remedy="Get the file again.")


def _number(file: BinaryIO, box: Box, offset: int) -> int:
    """The 32-bit number at ``offset`` of the content; 0 if the box is too short."""
    data = _content(file, box, offset + 4)[offset:]
    return int.from_bytes(data, "big") if len(data) == 4 else 0


def _hides_header(file: BinaryIO, box: Box) -> bool:
    return box.kind in _HIDING and _content(file, box, 8)[4:] in _HIDDEN

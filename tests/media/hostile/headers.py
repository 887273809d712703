"""Headers and indexes that promise more than there is, are deeper or longer than any, or are noise."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.media.hostile.containers import (
    audio_track,
    box,
    element,
    equal_samples,
    fragment,
    full_box,
    matroska,
    movie_header,
    mp4,
    packed_header,
    sample_table,
    small,
    video_track,
)
from tests.media.hostile.table import VIDEO, hostile
from tests.media.synthetic import picture, tone, write_clip

_MANY = 170_000_000  # entries of FFmpeg's index: 4 GB
_NO_SAMPLES = sample_table()
_FRAGMENTED = box(b"mvex", full_box(b"trex", 0, struct.pack(">5I", 1, 1, 1, 0, 0)))
_EDITS = struct.pack(">I", 2**28) + struct.pack(">IiI", 1, 0, 0x10000) * 1000
_HEADERS: dict[str, Sequence[bytes]] = {
    "many samples.mp4": [video_track(equal_samples(_MANY))],
    "ten million samples.mp4": [video_track(equal_samples(10**7))],
    "many samples of audio.mp4": [audio_track(sample_table([(_MANY, 2)], [(1, _MANY, 1)], (2, _MANY, b""), [40]))],
    "many chunks.mp4": [audio_track(sample_table([(_MANY, 1)], [(1, 2**31 - 1, 1)], (2, 2**32 - 1, b""), [40] * 80))],
    "long sample.mp4": [video_track(sample_table([(2**31 - 1,) * 2], [(1, 10, 1)], (1, 10, b""), [40]))],
    "many edits.mp4": [video_track(equal_samples(10), extra=box(b"edts", full_box(b"elst", 0, _EDITS)))],
    "many tracks.mp4": [video_track(equal_samples(10))] * 3000,
}


@hostile(VIDEO, *_HEADERS)
def odd_header(folder: Path, name: str) -> Path:
    return mp4(folder / name, movie_header(), *_HEADERS[name])


@hostile(VIDEO, "many samples, packed.mov")
def packed_table(folder: Path) -> Path:
    """A table of 20 million samples in 80 KB."""
    count = 20_000_000
    table = sample_table([(count, 1)], [(1, count, 1)], (0, count, bytes(4 * count)), [40])
    return packed_header(folder / "many samples, packed.mov", movie_header(), video_track(table))


@hostile(VIDEO, "fragment.mp4", "late fragment.mp4")
def large_fragment(folder: Path, name: str) -> Path:
    data = box(b"mdat", bytes(1000))
    first = b"" if name == "fragment.mp4" else fragment(10) + data
    header = (movie_header(), video_track(_NO_SAMPLES), _FRAGMENTED)
    return mp4(folder / name, *header, after=first + fragment(_MANY) + data)


@hostile(VIDEO, "boxes in boxes.mp4")
def nested(folder: Path) -> Path:
    content = b""
    for _ in range(20_000):
        content = box(b"udta", content)
    return mp4(folder / "boxes in boxes.mp4", movie_header(), content)


@hostile(VIDEO, "many boxes.mp4")
def empty_boxes(folder: Path) -> Path:
    path = folder / "many boxes.mp4"
    path.write_bytes(box(b"ftyp", b"isom\0\0\0\0") + box(b"free") * 400_001)
    return path


@hostile(VIDEO, "long title.mp4")
def long_title(folder: Path) -> Path:
    """100 MB of one tag, most of which is a hole in the file."""
    path, size = folder / "long title.mp4", 100 << 20
    write_clip(path, 5)
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    with path.open("wb") as out:
        out.write(data[:at] + struct.pack(">I4s", 16 + size, b"udta") + struct.pack(">I4s", 8 + size, b"\xa9nam"))
        out.seek(size, 1)
        out.write(data[at:])
    return path


@hostile(VIDEO, "chapters.mkv", "tags.mkv", "cues.mkv", "attachments.mkv", "size of everything.mkv", "nested.mkv")
def odd_matroska(folder: Path, name: str) -> Path:
    chapters = (
        small(b"\xb6", small(b"\x73\xc4", struct.pack(">I", 20_000 - number)), small(b"\x91", b"\0"))
        for number in range(20_000)
    )
    cue = small(b"\xbb", small(b"\xb3", b"\1"), small(b"\xb7", small(b"\xf7", b"\1"), small(b"\xf1", b"\1")))
    nested = b""
    for _ in range(1000):
        nested = element(b"\xb6", nested)
    part = {
        "chapters.mkv": lambda: element(b"\x10\x43\xa7\x70", element(b"\x45\xb9", *chapters)),
        "tags.mkv": lambda: matroska_tags(6000),
        "cues.mkv": lambda: element(b"\x1c\x53\xbb\x6b", cue * 500_000),
        "attachments.mkv": lambda: element(b"\x19\x41\xa4\x69", *[_attachment(5 << 20)] * 10),
        "size of everything.mkv": lambda: element(b"\x12\x54\xc3\x67", size=2**55),
        "nested.mkv": lambda: element(b"\x10\x43\xa7\x70", element(b"\x45\xb9", nested)),
    }[name]
    return matroska(folder / name, part())


def matroska_tags(count: int) -> bytes:
    """Tags of different names, which FFmpeg compares with each other."""
    tag = (small(b"\x45\xa3", b"K%05d" % number) + small(b"\x44\x87", b"v") for number in range(count))
    return element(b"\x12\x54\xc3\x67", element(b"\x73\x73", *(small(b"\x67\xc8", each) for each in tag)))


def _attachment(size: int) -> bytes:
    named = element(b"\x46\x6e", b"a.ttf") + element(b"\x46\x60", b"font/ttf") + element(b"\x46\xae", b"\1")
    return element(b"\x61\xa7", named, element(b"\x46\x5c", bytes(size)))


@hostile(VIDEO, "noise.mp4", "noise.mkv", "noise.avi")
def noise(folder: Path, name: str) -> Path:
    """A real file with every hundredth byte changed."""
    path = write_clip(folder / name, [picture(number) for number in range(25)], sound=tone(1.0))
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[64::101] ^= np.random.default_rng(7).integers(1, 255, len(data[64::101]), dtype=np.uint8)
    path.write_bytes(data.tobytes())
    return path

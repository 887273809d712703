"""Containers written byte by byte, as no muxer would: MP4 (ISO/IEC 14496-12), Matroska (RFC 9559), WAV and PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av

_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_FILE_TYPE = b"\0\0\0\x14ftypisom\0\0\0\0isom"

# -- MP4 --------------------------------------------------------------------------------------------------------------


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full_box(kind: bytes, flags: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", flags), *content)


def movie_header(scale: int = 1000, length: int = 1000) -> bytes:
    times = struct.pack(">4I", 0, 0, scale, length)
    return full_box(b"mvhd", 0, times, struct.pack(">IH10x", 0x10000, 0x100), _MATRIX, bytes(24), b"\0\0\0\3")


def sample_table(
    durations: Sequence[tuple[int, int]] = (),
    runs: Sequence[tuple[int, int, int]] = (),
    sizes: tuple[int, int, bytes] = (0, 0, b""),
    offsets: Sequence[int] = (),
) -> bytes:
    """``durations``: (samples, ticks); ``runs``: (first chunk, samples, 1); ``sizes``: (one for all or 0, samples,
    table); ``offsets``: of the chunks."""
    return b"".join(
        [
            full_box(b"stts", 0, struct.pack(">I", len(durations)), *(struct.pack(">2I", *x) for x in durations)),
            full_box(b"stsc", 0, struct.pack(">I", len(runs)), *(struct.pack(">3I", *x) for x in runs)),
            full_box(b"stsz", 0, struct.pack(">2I", *sizes[:2]), sizes[2]),
            full_box(b"stco", 0, struct.pack(f">{1 + len(offsets)}I", len(offsets), *offsets)),
        ]
    )


def equal_samples(count: int, size: int = 1) -> bytes:
    """A table of a few bytes for any number of samples."""
    return sample_table([(count, 1)], [(1, count, 1)], (size, count, b""), [40])


def video_track(table: bytes, codec: bytes = b"png ", width: int = 256, height: int = 256, extra: bytes = b"") -> bytes:
    entry = (
        bytes(6)
        + b"\0\1"
        + bytes(16)
        + struct.pack(">2H3IH32sHh", width, height, 72 << 16, 72 << 16, 0, 1, b"", 24, -1)
    )
    return _track(b"vide", box(codec, entry), full_box(b"vmhd", 1, bytes(8)), table, extra)


def audio_track(table: bytes, codec: bytes = b"sowt", rate: int = 8000) -> bytes:
    entry = bytes(6) + b"\0\1" + bytes(8) + struct.pack(">4HI", 1, 16, 0, 0, rate << 16)
    return _track(b"soun", box(codec, entry), full_box(b"smhd", 0, bytes(4)), table, b"")


def _track(handler: bytes, entry: bytes, media_header: bytes, table: bytes, extra: bytes) -> bytes:
    place = struct.pack(">5I8x4H", 0, 0, 1, 0, 1000, 0, 0, 0, 0) + _MATRIX + struct.pack(">2I", 256 << 16, 256 << 16)
    reference = box(b"dinf", full_box(b"dref", 0, b"\0\0\0\1", full_box(b"url ", 1)))
    described = full_box(b"stsd", 0, b"\0\0\0\1", entry)
    return box(
        b"trak",
        full_box(b"tkhd", 3, place),
        extra,
        box(
            b"mdia",
            full_box(b"mdhd", 0, struct.pack(">4I2H", 0, 0, 1000, 1000, 0x55C4, 0)),
            full_box(b"hdlr", 0, struct.pack(">I4s12x", 0, handler), b"\0"),
            box(b"minf", media_header, reference, box(b"stbl", described, table)),
        ),
    )


def fragment(samples: int) -> bytes:
    """A movie fragment that promises so many samples without saying anything of them."""
    header = full_box(b"tfhd", 0x020018, struct.pack(">3I", 1, 1, 0))
    run = full_box(b"trun", 0x1, struct.pack(">Ii", samples, 0))
    return box(b"moof", full_box(b"mfhd", 0, b"\0\0\0\1"), box(b"traf", header, run))


def mp4(path: Path, *header: bytes, after: bytes = b"", data: bytes = bytes(1000)) -> Path:
    """``header``: the content of 'moov'; ``after``: boxes between that and the data."""
    path.write_bytes(_FILE_TYPE + box(b"moov", *header) + after + box(b"mdat", data))
    return path


def packed_header(path: Path, *header: bytes) -> Path:
    """The same with a compressed header."""
    movie = box(b"moov", *header)
    packed = box(b"cmvd", struct.pack(">I", len(movie)), zlib.compress(movie, 9))
    return mp4(path, box(b"cmov", box(b"dcom", b"zlib"), packed))


# -- Matroska ---------------------------------------------------------------------------------------------------------


def element(number: bytes, *content: bytes, size: int | None = None) -> bytes:
    """``size``: another one than it has."""
    data = b"".join(content)
    return number + struct.pack(">Q", (len(data) if size is None else size) | 1 << 56) + data


def small(number: bytes, *content: bytes) -> bytes:
    """An element of less than 127 bytes, in as few bytes as possible."""
    data = b"".join(content)
    return number + bytes([0x80 | len(data)]) + data


def matroska(path: Path, *elements: bytes, head: bytes = b"") -> Path:
    """A VP9 track with one broken frame, and ``elements`` beside it."""
    size = element(b"\xe0", small(b"\xb0", b"\1\0"), small(b"\xba", b"\1\0"))
    entry = element(
        b"\xae", small(b"\xd7", b"\1"), small(b"\x73\xc5", b"\1"), small(b"\x83", b"\1"), small(b"\x86", b"V_VP9"), size
    )
    info = element(b"\x15\x49\xa9\x66", small(b"\x2a\xd7\xb1", b"\x0f\x42\x40"))
    cluster = element(b"\x1f\x43\xb6\x75", small(b"\xe7", b"\0"), small(b"\xa3", b"\x81\0\0\x80", bytes(50)))
    segment = element(b"\x18\x53\x80\x67", info, element(b"\x16\x54\xae\x6b", entry), *elements, cluster)
    path.write_bytes(element(b"\x1a\x45\xdf\xa3", small(b"\x42\x82", b"matroska")) + head + segment)
    return path


# -- others -----------------------------------------------------------------------------------------------------------


def wav(
    path: Path, data: bytes, rate: int = 8000, channels: int = 1, bits: int = 16, stated: int | None = None
) -> Path:
    """``stated``: the number of bytes that the header claims."""
    block = channels * 2
    layout = struct.pack("<2H2I2H", 1, channels, rate, min(rate * block, 2**32 - 1), block, 16)
    length = len(data) if stated is None else stated
    chunks = b"fmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", length)
    path.write_bytes(b"RIFF" + struct.pack("<I", min(length + 36, 2**32 - 1)) + b"WAVE" + chunks + data)
    return path


@cache
def png(width: int, height: int, text: int = 0) -> bytes:
    """A black image; ``text``: megabytes of a comment, which is packed as well."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + width * 3) * height), 6)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (text << 20), 9)) if text else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + comment + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def mux(
    path: Path,
    packets: Sequence[bytes],
    codec: str,
    *,
    container: str,
    pix_fmt: str = "yuv420p",
    side: int = 64,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    extradata: bytes | None = None,
) -> Path:
    """Packets as they are in a file that says that its frames are ``side`` x ``side`` pixels."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, time_base=time_base, options={"strict": "-2"})
        stream.width = stream.height = side
        stream.pix_fmt = pix_fmt
        if extradata is not None:
            stream.codec_context.extradata = extradata
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, True
            packet.pts = packet.dts = number if times is None else times[number]
            packet.duration = 1
            out.mux(packet)
    return path

"""Files that strangers send to do harm, or by mistake."""

from __future__ import annotations

import struct
import zlib

import av

from tests.media.synthetic import write_clip


def huge_png(path, side=10_000):
    """A black picture whose file is a thousandth of it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(side // 8 + 1) * side)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def huge_frames(path, side=10_000):
    """One frame of 10,000 x 10,000 pixels: 150 MB from a file of half a megabyte."""
    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_stream("mjpeg", rate=25, options={"strict": "unofficial"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuvj420p"
        out.mux(stream.encode(av.VideoFrame(side, side, "yuvj420p")))
        out.mux(stream.encode(None))
    return path


def gif_bomb(path, side=4096, frames=1500):
    """Frames that unpack to 75 GB, none of which changes anything."""
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    frame = (
        b"\x21\xf9\x04\x04\x04\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    )
    path.write_bytes(screen + frame * frames + b"\x3b")
    return path


def ten_hours(path):
    """A second of video whose header claims ten hours."""
    write_clip(path, 25)
    data = bytearray(path.read_bytes())
    for kind, scale, length in ((b"mvhd", 12, 16), (b"tkhd", None, 20), (b"mdhd", 12, 16)):
        at = data.index(kind) + 4
        rate = struct.unpack(">I", data[at + scale : at + scale + 4])[0] if scale else 1000
        data[at + length : at + length + 4] = struct.pack(">I", min(36_000 * rate, 2**32 - 1))
    path.write_bytes(data)
    return path


def web_page(path):
    path.write_bytes(b"<!DOCTYPE html><html><script>alert(1)</script></html>")
    return path


def playlist(path):
    """What FFmpeg would follow to other files."""
    path.write_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    return path


def concatenation(path):
    path.write_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    return path

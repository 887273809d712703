"""Chunks of PNG images that are thrown away before FFmpeg sees them (ISO/IEC 15948, 11.3.3).

Comments and color profiles are packed, and FFmpeg unpacks them whatever their size: 200 KB become 200 MB, three times
over. Nobody here reads them.
"""

from __future__ import annotations

import struct

import av

CODECS = frozenset({"png", "apng"})
_SIGNATURE_BYTES = 8
_AROUND = 12  # bytes of a chunk besides its content: length, kind, checksum
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_MOST_PACKED = 2**16  # bytes of an image's; the profiles of cameras take less


def without_comments(packet: av.Packet) -> av.Packet:
    """The packet of a PNG image, or a copy without packed comments and profiles if they are large."""
    data = memoryview(packet)
    kept, packed, position = [data[:_SIGNATURE_BYTES]], 0, _SIGNATURE_BYTES
    while position + _AROUND <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + _AROUND + length]
        if kind in _PACKED:
            packed += length
        else:
            kept.append(chunk)
        position += len(chunk)
    if packed <= _MOST_PACKED:
        return packet
    content = b"".join([*kept, data[position:]])
    copy = av.Packet(len(content))  # memory of FFmpeg's: its threads would wait for Python's lock to free an object
    copy.update(content)
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return copy

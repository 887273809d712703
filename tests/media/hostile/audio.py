"""Audio that is longer than stated, at rates that nothing has, or behind tags that unpack."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.media.hostile.containers import png, wav
from tests.media.hostile.table import AUDIO, hostile
from tests.media.synthetic import tone, write_wav

HALF_AN_HOUR = 1800  # seconds
_LONG = {  # name -> codec, sample format, container, samples per second, options of the encoder
    "long.aac.mp4": ("aac", "fltp", "mp4", 8000, {}),
    "long.flac.mkv": ("flac", "s16", "matroska", 16_000, {"frame_size": "65535"}),
    "long.alac.mkv": ("alac", "s16p", "matroska", 8000, {}),
    "long.opus.mkv": ("libopus", "s16", "matroska", 8000, {}),
    "long.mp3.mp4": ("libmp3lame", "s16p", "mp4", 16_000, {"b": "8000"}),
}
_OPUS_SILENCE = b"\x1b\2", 960  # two frames of 60 ms without a byte (RFC 6716, 3.2.5), and samples at 8 kHz


@cache
def quiet_packet(
    codec: str, sample_format: str, rate: int, options: tuple[tuple[str, str], ...] = ()
) -> tuple[bytes, bytes | None, int]:
    """A packet of silence, the encoder's extradata, and how many samples the packet holds."""
    context = av.CodecContext.create(codec, "w")
    context.sample_rate, context.layout, context.format, context.options = rate, "mono", sample_format, dict(options)
    context.time_base = Fraction(1, rate)
    context.open()
    count = context.frame_size or 4608
    packets: list[bytes] = []
    for number in range(12):
        silence = np.zeros((1, count), np.float32 if sample_format == "fltp" else np.int16)
        frame = av.AudioFrame.from_ndarray(silence, sample_format, "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, number * count, Fraction(1, rate)
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    packet, count = _OPUS_SILENCE if codec == "libopus" else (packets[len(packets) // 2], count)
    return packet, context.extradata, count


@hostile(AUDIO, *_LONG)
def long_in_a_moment(folder: Path, name: str) -> Path:
    """Half an hour of silence whose packets are said to last a thousandth of a second or less."""
    codec, sample_format, container, rate, options = _LONG[name]
    packet, extradata, samples = quiet_packet(codec, sample_format, rate, tuple(options.items()))
    with av.open(str(folder / name), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono", options=dict(options))
        if extradata is not None:
            stream.codec_context.extradata = extradata
        for number in range(HALF_AN_HOUR * rate // samples):
            copy = av.Packet(packet)
            copy.stream, copy.time_base = stream, Fraction(1, 1000) if container == "matroska" else Fraction(1, rate)
            copy.pts = copy.dts = number // 64 if container == "matroska" else number
            copy.duration = 1
            out.mux(copy)
    return folder / name


@hostile(AUDIO, "one hertz.wav", "slow.wav", "fast.wav", "no rate.wav", "no channels.wav", "crowd.wav", "claim.wav")
def odd_wav(folder: Path, name: str) -> Path:
    data = bytes(100_000)
    rates = {"one hertz.wav": 1, "slow.wav": 100, "fast.wav": 2**31 - 1, "no rate.wav": 0}
    channels = {"no channels.wav": 0, "crowd.wav": 255}.get(name, 1)
    stated = 2**32 - 1 if name == "claim.wav" else None
    return wav(folder / name, data, rates.get(name, 8000), channels, stated=stated)


@hostile(AUDIO, "one hertz.flac")
def one_hertz(folder: Path) -> Path:
    """Frames of FLAC that last 18 hours each (RFC 9639)."""
    packet, extradata, _ = quiet_packet("flac", "s16", 8000, (("frame_size", "65535"),))
    header = packet[:2] + bytes([packet[2] & 0xF0]) + packet[3:7]  # the sample rate: as the file says
    header += _checksum(header, 8, 0x07)
    frame = header + packet[8:-2]
    packed = int.from_bytes(extradata[10:18], "big") & ((1 << 44) - 1) | 1 << 44
    stream_info = extradata[:10] + packed.to_bytes(8, "big") + extradata[18:]
    path = folder / "one hertz.flac"
    path.write_bytes(b"fLaC\x80\0\0\x22" + stream_info + (frame + _checksum(frame, 16, 0x8005)) * 3)
    return path


def _checksum(data: bytes, bits: int, polynomial: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & (1 << bits) - 1
    return value.to_bytes(bits // 8, "big")


@hostile(AUDIO, "cover.mp3")
def cover_art(folder: Path) -> Path:
    """128 megapixels on the cover."""
    content = b"\0image/png\0\x03\0" + png(16_000, 8_000)
    write_wav(folder / "plain.mp3", tone(0.5), codec="libmp3lame")
    tag = _id3(b"APIC" + struct.pack(">IH", len(content), 0) + content)
    (folder / "cover.mp3").write_bytes(tag + (folder / "plain.mp3").read_bytes())
    return folder / "cover.mp3"


@hostile(AUDIO, "tags.mp3")
def packed_tags(folder: Path) -> Path:
    """ID3 frames that are packed: 200 MB from 200 KB (ID3v2.3, 3.3.1)."""
    packed = struct.pack(">I", 20 << 20) + zlib.compress(b"T" * (20 << 20), 9)
    write_wav(folder / "plain.mp3", tone(0.5), codec="libmp3lame")
    tag = _id3((b"TXXX" + struct.pack(">IH", len(packed), 0x80) + packed) * 10)
    (folder / "tags.mp3").write_bytes(tag + (folder / "plain.mp3").read_bytes())
    return folder / "tags.mp3"


def _id3(frames: bytes) -> bytes:
    size = len(frames)
    return b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + frames

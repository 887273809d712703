"""Packets to decoded frames, from the start of a stream or from any key frame of it; without the chunks of PNG images
that nobody here reads (ISO/IEC 15948, 11.3.3).

Comments and color profiles are packed, and FFmpeg unpacks them whatever their size: 200 KB become 200 MB, three times
over.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from latentsync.errors import VideoError
from latentsync.media.container import open_input, video_stream, with_padding
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.threads import codec_threads
from latentsync.media.timeline import Timeline

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these drop the alpha
_UNSTATED = 3840 * 2160  # pixels that a frame may have if the file says less: some grow within a file (WebRTC)
_VP8_SHOW_FRAME = 0x10  # bit of the first byte of a VP8 frame (RFC 6386, 9.1)
PNG_CODECS = frozenset({"png", "apng"})
_PNG_SIGNATURE_BYTES = 8
_AROUND_CHUNK = 12  # bytes of a chunk besides its content: length, kind, checksum
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_MOST_PACKED = 2**16  # bytes of an image's; the profiles of cameras take less


def is_shown(packet: av.Packet, codec: str) -> bool:
    """Whether decoding the packet gives a frame that is meant to be seen."""
    if packet.is_discard:
        return False
    return codec != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOW_FRAME)


def decode_all(path: Path, limits: MediaLimits = GENEROUS) -> Generator[av.VideoFrame, None, None]:
    """Every frame that FFmpeg can make of a file, from its start.

    Raises ``VideoError`` at a frame that is larger than ``limits`` allow, or larger than 4K and than the file says that
    its frames are: no more than that is ever decoded.
    """
    with open_input(path, VideoError, most_pixels=limits.pixels) as container:
        yield from _decoded(container, video_stream(container, path), path, limits)


def decode_from(
    path: Path, timeline: Timeline, key: int, reorder_depth: int, limits: MediaLimits = GENEROUS
) -> Generator[tuple[int, av.VideoFrame], None, None]:
    """(index, frame) from about key frame ``key`` on, as far as FFmpeg can decode.

    What comes first may lie before ``key``, or after it if the container seeks badly; frames that depend on missing
    ones are left out by the decoder. Indices rise. Raises as ``decode_all``.
    """
    with open_input(path, VideoError, most_pixels=limits.pixels) as container:
        stream = video_stream(container, path)
        if key > 0:
            try:
                container.seek(timeline.stamp(key), stream=stream)
            except av.FFmpegError:  # no seeking in this one: the caller then starts from the beginning
                return
            stream.codec_context.reorder_depth = reorder_depth  # forgotten on seeking; without it B frames get lost
        last = -1
        for frame in _decoded(container, stream, path, limits):
            index = timeline.index_at(frame.pts) if timeline.by_time and frame.pts is not None else last + 1
            if index > last:
                yield index, frame
                last = index


def _decoded(
    container: InputContainer, stream: VideoStream, path: Path, limits: MediaLimits
) -> Iterator[av.VideoFrame]:
    """Frames as far as they can be read and decoded; who numbers them sees what is missing."""
    stated = stream.codec_context.width * stream.codec_context.height
    most = min(limits.pixels, max(stated, _UNSTATED))
    decoder = _decoder_for(stream)
    decoder.options = {"max_pixels": str(with_padding(most))}
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        limits.on_packet()
        if stream.codec_context.name in PNG_CODECS and packet.size:
            packet = without_comments(packet)
        try:
            frames = decoder.decode(packet if packet.size else None)
        except av.FFmpegError as error:
            if _is_too_large(error, decoder, most):
                raise _too_large(path, most, limits) from error
            continue
        for frame in frames:
            if frame.width * frame.height > most:
                raise _too_large(path, most, limits)
            yield frame


def _is_too_large(error: av.FFmpegError, decoder: av.VideoCodecContext, most: int) -> bool:
    """Whether a decoder failed at the size of a frame: it then knows of no size, or says which one, or that it is out
    of range (dav1d)."""
    return isinstance(error, OverflowError) or not 0 < decoder.width * decoder.height <= with_padding(most)


def _too_large(path: Path, most: int, limits: MediaLimits) -> VideoError:
    if most == limits.pixels:
        return limits.size_error(path, "has a frame of no size, or of one far too large")
    return VideoError(
        f"{path} has a frame of more than {most / 1e6:.1f} megapixels, and states a smaller size.",
        remedy="Convert it again, at one size.",
    )


def _decoder_for(stream: VideoStream) -> av.VideoCodecContext:
    """The decoder of a stream, with threads on; one that keeps the alpha plane where the stream has one."""
    decoder = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if decoder.name in _ALPHA_DECODERS and tags.get("alpha_mode") == "1":
        keeping = av.CodecContext.create(_ALPHA_DECODERS[decoder.name], "r")
        assert isinstance(keeping, av.VideoCodecContext)
        keeping.extradata, decoder = decoder.extradata, keeping
    decoder.thread_type = "AUTO"
    decoder.thread_count = codec_threads()
    return decoder


def without_comments(packet: av.Packet) -> av.Packet:
    """The packet of a PNG image, or a copy without packed comments and profiles if they are large."""
    data = memoryview(packet)
    kept, packed, position = [data[:_PNG_SIGNATURE_BYTES]], 0, _PNG_SIGNATURE_BYTES
    while position + _AROUND_CHUNK <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + _AROUND_CHUNK + length]
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

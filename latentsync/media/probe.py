"""What a file holds, from its headers, its packets and its first frame: no guess from a header that may lie."""

from __future__ import annotations

import re
from array import array
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType

from latentsync.errors import NoVideoStreamError, VideoError
from latentsync.media import color
from latentsync.media.container import (
    IMAGE_SUFFIXES,
    NO_VIDEO_REMEDY,
    clock_may_jump,
    in_seconds,
    is_folder,
    open_input,
    video_stream,
)
from latentsync.media.decoder import decode_all, is_shown
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.rotation import Orientation, orientation_of
from latentsync.media.side_data import side_data_of
from latentsync.media.timeline import DEFAULT_RATE, Timeline, counted_timeline, timeline_from_packets, without_jumps
from latentsync.types import AudioStreamInfo, ColorTags, HdrMetadata, VideoInfo

_BOTTOM_FIRST = (3, 4)  # FFmpeg's codes of field orders: coded and shown so, or only shown
_MOST_STRETCHED = 8  # width over height of a pixel, or the other way round, that a camera means


@dataclass(frozen=True)
class ClipProbe:
    """All that is needed to decode a video frame by frame.

    ``files`` is set for a folder of images, in their order. Each of them is turned by itself, so that ``coded_size`` is
    the size that all must have upright.
    """

    info: VideoInfo
    timeline: Timeline
    coded_size: tuple[int, int]  # (width, height) before rotation
    orientation: Orientation = field(default_factory=Orientation)
    reorder_depth: int = 0  # frames that the decoder holds back
    files: tuple[Path, ...] = ()
    still: bool = False  # a single image
    notes: tuple[str, ...] = ()  # what a user should know about how it is read


def probe_video(path: Path | str, fps: Fraction | None = None, limits: MediaLimits = GENEROUS) -> VideoInfo:
    """Size, exact frame count, rate, color, rotation and audio streams of a video, an image or a folder of images.

    ``fps`` is the rate of images that have none (default 25). Reads every packet, decodes the first frame. Raises
    ``NoVideoStreamError`` for a file without video, ``VideoError`` for one that cannot be read or decoded, or is longer
    or larger than ``limits`` allow.
    """
    return inspect_clip(path, fps, limits).info


def inspect_clip(path: Path | str, fps: Fraction | None = None, limits: MediaLimits = GENEROUS) -> ClipProbe:
    """See ``probe_video``; the result also holds what a decoder needs."""
    path = Path(path)
    if is_folder(path):
        return _inspect_folder(path, fps or DEFAULT_RATE, limits)
    with open_input(path, VideoError, limits.video_formats, limits.pixels) as container:
        stream = video_stream(container, path)
        still = path.suffix.lower() in IMAGE_SUFFIXES and container.format.name != "apng"
        tracks = [track for track in container.streams.audio if track.codec_context is not None]
        audio = tuple(_audio_info(track, container) for track in tracks)
        codec, depth = stream.codec_context.name, stream.codec_context.reorder_depth
        sample_aspect = stream.sample_aspect_ratio
        header_frames, field_order = stream.frames, stream.codec_context.field_order
    first = _first_frame(path, limits)
    notes = _format_notes(first)
    if still:
        timeline, n_bytes = counted_timeline(1, fps or DEFAULT_RATE), 0
    else:
        timeline, n_bytes, damage = _read_timeline(path, header_frames, limits)
        notes += damage
    orientation, angle, turned = orientation_of(first)
    sample_aspect, squashed = _pixel_shape(sample_aspect)
    notes += filter(None, [turned, squashed])
    alpha = color.has_alpha(first.format.name)
    if alpha and (still or codec == "gif"):
        alpha = _any_transparency(path, limits)
    width, height = first.width, first.height
    if orientation.transpose:
        width, height = height, width
        sample_aspect = 1 / sample_aspect
    info = VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=timeline.fps,
        n_frames=len(timeline),
        duration=timeline.duration,
        variable_frame_rate=timeline.rate is None,
        rotation=angle,
        pix_fmt=first.format.name,
        codec=codec,
        bit_rate=round(n_bytes * 8 / timeline.duration) or None,
        sample_aspect_ratio=sample_aspect,
        color=_color_tags(first),
        has_alpha=alpha,
        audio=audio,
        usual_interval=timeline.interval if timeline.rate is None else None,
        hdr=_hdr_metadata(first),
        first_field=_first_field(first, field_order),
    )
    return ClipProbe(info, timeline, (first.width, first.height), orientation, depth, still=still, notes=tuple(notes))


def _pixel_shape(stated: Fraction | None) -> tuple[Fraction, str]:
    """Width over height of a pixel, and what a user should know of it."""
    if not stated:
        return Fraction(1), ""
    if not 1 / _MOST_STRETCHED <= stated <= _MOST_STRETCHED:
        return Fraction(1), f"pixels of the shape {stated.numerator}:{stated.denominator} are taken for square"
    return stated, ""


def _first_frame(path: Path, limits: MediaLimits) -> av.VideoFrame:
    with closing(decode_all(path, limits)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise VideoError(f"{path}: no frame of it can be decoded.", remedy="Check that it plays in a video player.")
    return frame


def _read_timeline(path: Path, header_frames: int, limits: MediaLimits) -> tuple[Timeline, int, list[str]]:
    """Timeline, bytes of the stream, and notes on damage, from a pass over all packets."""
    pts, durations, is_key, dts = array("q"), array("q"), array("b"), array("q")
    n_bytes, n_hidden, n_shown, notes = 0, 0, 0, []
    with open_input(path, VideoError, limits.video_formats, limits.pixels) as container:
        stream = video_stream(container, path)
        codec, time_base, jumping = stream.codec_context.name, stream.time_base, clock_may_jump(container)
        rates = (stream.guessed_rate, stream.base_rate, stream.average_rate)
        try:
            for packet in container.demux(stream):
                limits.on_packet()
                if not packet.size:  # AVI: the frame before is shown again; or the end of the stream
                    n_hidden += packet.dts is not None
                    continue
                n_bytes += packet.size
                if not is_shown(packet, codec):
                    n_hidden += 1
                    continue
                n_shown += 1
                limits.refuse_frames(n_shown, path)
                if packet.pts is not None:
                    pts.append(packet.pts)
                    durations.append(packet.duration or 0)
                    is_key.append(packet.is_keyframe)
                    if jumping and packet.dts is not None:
                        dts.append(packet.dts)
        except av.FFmpegError as error:
            notes.append(f"{path}: reading stopped after {n_shown} frames ({error.strerror})")
    if header_frames > n_shown + n_hidden:
        notes.append(f"{path}: cut short, {n_shown} of {header_frames} frames are there")
    timeline = None
    if pts and len(pts) == n_shown and time_base is not None:
        shown, lasting, keys = (np.array(column) for column in (pts, durations, is_key))
        stamps = None
        if len(dts) == n_shown:
            closed, jumps = without_jumps(shown, np.array(dts), time_base)
            if jumps:
                notes.append(_jumps_note(path, jumps))
                shown, stamps = closed, shown
        limits.refuse_long(in_seconds(int(shown.max() - shown.min()), time_base), path, VideoError)
        if len(np.unique(shown)) == n_shown:
            timeline = timeline_from_packets(shown, lasting, keys.astype(bool), time_base, rates, stamps)
    if timeline is None:  # no usable stamps: decode to count
        rate = next((rate for rate in rates if rate), DEFAULT_RATE)
        timeline = counted_timeline(_count_frames(path, limits), rate)
    limits.refuse_long(timeline.duration, path, VideoError)
    return timeline, n_bytes, notes


def _jumps_note(path: Path, jumps: list[Fraction]) -> str:
    longest = max(jumps, key=abs)
    return (
        f"{path}: its clock jumps {len(jumps)} time(s), by up to {float(longest):.1f} s, where no frames are: the "
        "next one is shown at once"
    )


def _count_frames(path: Path, limits: MediaLimits) -> int:
    count = 0
    for count, _ in enumerate(decode_all(path, limits), start=1):
        limits.refuse_frames(count, path)
    return count


def _inspect_folder(folder: Path, fps: Fraction, limits: MediaLimits) -> ClipProbe:
    images = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != ".")
    files = tuple(sorted(images, key=_natural_order))
    if not files:
        raise NoVideoStreamError(f"The folder {folder} holds no pictures.", remedy=NO_VIDEO_REMEDY)
    first = _first_frame(files[0], limits)
    timeline = counted_timeline(len(files), Fraction(fps), n_keys=len(files))
    alpha = color.has_alpha(first.format.name) and any(_any_transparency(file, limits) for file in files)
    n_bytes = sum(file.stat().st_size for file in files)
    orientation, _, turned = orientation_of(first)
    size = (first.height, first.width) if orientation.transpose else (first.width, first.height)
    info = VideoInfo(
        path=folder,
        width=size[0],
        height=size[1],
        fps=timeline.fps,
        n_frames=len(files),
        duration=timeline.duration,
        pix_fmt=first.format.name,
        codec=files[0].suffix[1:].lower(),
        bit_rate=round(n_bytes * 8 / timeline.duration),
        color=_color_tags(first),
        has_alpha=alpha,
    )
    notes = (*_format_notes(first), *filter(None, [turned]))
    return ClipProbe(info, timeline, size, files=files, notes=notes)


def _natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A key that puts f2 before f10."""
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], file.name


def _any_transparency(path: Path, limits: MediaLimits) -> bool:
    """Whether any pixel of an image or GIF is not opaque: an alpha plane that says nothing is no alpha."""
    with closing(decode_all(path, limits)) as frames:
        return any(color.alpha_of(frame).min() < 255 for frame in frames)


def _format_notes(frame: av.VideoFrame) -> list[str]:
    if color.matrix_is_known(_color_tags(frame)):
        return []
    return [f"the color matrix with code {int(frame.colorspace)} is not supported: read as BT.601"]


def _hdr_metadata(frame: av.VideoFrame) -> HdrMetadata:
    mastering, light = side_data_of(frame, SideDataType.MASTERING_DISPLAY_METADATA), None
    numbers = None
    if mastering is not None:
        fields = np.frombuffer(mastering, np.int32)  # AVMasteringDisplayMetadata: ten fractions, two flags
        if len(fields) >= 22 and fields[20] and fields[21] and fields[1:20:2].all():
            numbers = tuple(Fraction(int(a), int(b)) for a, b in fields[:20].reshape(10, 2))
    content = side_data_of(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if content is not None:
        light = tuple(int(value) for value in np.frombuffer(content, np.uint32)[:2])
    return HdrMetadata(numbers, light if light is not None and len(light) == 2 else None)


def _first_field(frame: av.VideoFrame, order: int) -> str:
    """See ``VideoInfo.first_field``; ``order``: FFmpeg's code of the stream."""
    if not frame.interlaced_frame:
        return ""
    return "bottom" if order in _BOTTOM_FIRST else "top"


def _color_tags(frame: av.VideoFrame) -> ColorTags:
    full_range = {1: False, 2: True}.get(int(frame.color_range))
    return ColorTags(int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), full_range)


def _audio_info(stream: AudioStream, container: InputContainer) -> AudioStreamInfo:
    if stream.duration is not None:
        duration = in_seconds(stream.duration, stream.time_base)
    elif container.duration is not None:
        duration = Fraction(container.duration, av.time_base)
    else:
        duration = None
    return AudioStreamInfo(stream.codec_context.name, stream.sample_rate, stream.channels, duration)

"""Frames to packets: one encoded video stream of a file, with exact times."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from latentsync.errors import EncoderError
from latentsync.media.color import RgbToFrame
from latentsync.media.encoding import EncodingOptions, EncodingPlan, plan_encoding
from latentsync.media.planes import DecodedFrame
from latentsync.media.threads import codec_threads
from latentsync.media.tone_map import ToneMap
from latentsync.types import ArrayFrame, Frame, VideoInfo

_MAX_REORDERING = 60  # seconds between decoding and showing a frame that no encoder means


class VideoTrack:
    """The video stream of a container that is being written. Add it before anything is muxed."""

    def __init__(self, container: OutputContainer, plan: EncodingPlan, source: VideoInfo) -> None:
        self._plan = plan
        self._exact = not source.variable_frame_rate
        self._shape = (source.height, source.width, 3)
        self._to_frame = RgbToFrame(plan.color, plan.pix_fmt)
        self._tone_map = None if plan.tone_map is None else ToneMap(plan.tone_map)
        self._fields = _field_marker(plan) if plan.first_field else None
        self._durations: dict[int, int] = {}  # by presentation time, of frames inside the encoder
        self._last_pts: int | None = None
        stream = container.add_stream(plan.encoder, rate=source.fps, options=_options(plan), time_base=plan.time_base)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height, self._stream.pix_fmt = plan.width, plan.height, plan.pix_fmt
        context = self._stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = codec_threads()
        context.sample_aspect_ratio = source.sample_aspect_ratio
        context.colorspace, context.color_primaries = plan.color.matrix, plan.color.primaries
        context.color_trc = plan.color.transfer
        context.color_range = {None: 0, False: 1, True: 2}[plan.color.full_range]
        if plan.codec == "hevc" and plan.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag that QuickTime plays

    def encode(self, frame: Frame, duration: Fraction, key: bool = False) -> list[av.Packet]:
        """Packets that are ready once ``frame``, shown for ``duration`` seconds, has gone in.

        A ``key`` frame can be decoded without any frame before it, and so can all that follow.

        Raises ``ValueError`` if the frame has another size, no alpha where the stream has it, or a time that is not
        after the one before or does not lie on the grid of a constant rate.
        """
        if frame.shape != self._shape:
            raise ValueError(f"frame {frame.index} has shape {frame.shape}, the video {self._shape}")
        if self._plan.alpha and frame.alpha is None:
            raise ValueError(f"frame {frame.index} has no alpha plane")
        pts = self._ticks(frame.time)
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"frame {frame.index} at {frame.time} s is not later than the frame before it")
        self._last_pts = pts
        self._durations[pts] = max(1, round(duration / self._plan.time_base))
        image = self._planes(frame)
        if self._fields is not None:
            self._fields.vpush(image)
            image = self._fields.vpull()
        image.pts, image.time_base = pts, self._plan.time_base
        if key:
            image.pict_type = PictureType.I
        return self._finished(self._stream.encode(image))

    def flush(self) -> list[av.Packet]:
        """The packets that the encoder still holds."""
        return self._finished(self._stream.encode(None))

    def _planes(self, frame: Frame) -> av.VideoFrame:
        as_it_is = self._tone_map is None and frame.shape[:2] == (self._plan.height, self._plan.width)
        kept = frame.planes_for(self._to_frame) if as_it_is and isinstance(frame, DecodedFrame) else None
        if kept is not None:
            return kept
        pixels = frame.pixels if self._tone_map is None else self._tone_map(frame.pixels)
        if self._plan.alpha:
            return self._to_frame(pixels, frame.alpha)
        pixels = pixels if frame.alpha is None else _over_black(pixels, frame.alpha)
        return self._to_frame(self._of_full_size(pixels), None)

    def _of_full_size(self, pixels: np.ndarray) -> np.ndarray:
        """(height, width, 3) of the plan: the last row and column are repeated."""
        height, width = pixels.shape[:2]
        more = (0, self._plan.height - height, 0, self._plan.width - width)
        return cv2.copyMakeBorder(pixels, *more, cv2.BORDER_REPLICATE) if any(more) else pixels

    def _ticks(self, time: Fraction) -> int:
        ticks = time / self._plan.time_base
        if self._exact and ticks.denominator != 1:
            raise ValueError(f"a frame at {time} s does not fit a constant rate of {1 / self._plan.time_base} per s")
        return round(ticks)

    def _finished(self, packets: list[av.Packet]) -> list[av.Packet]:
        for packet in packets:
            shown = packet.pts
            assert shown is not None  # encoders hand on the times of their frames
            packet.duration = self._durations.pop(shown, packet.duration or 0)
            # x265 leaves the decoding times of streams of one or two frames unset; those are not reordered.
            if packet.dts is None or abs(shown - packet.dts) * self._plan.time_base > _MAX_REORDERING:
                packet.dts = shown
        return packets


def _over_black(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return cv2.multiply(pixels, cv2.merge([alpha, alpha, alpha]), scale=1 / 255)


def _field_marker(plan: EncodingPlan) -> av.filter.Graph:
    """A filter that says of frames that they are fields, as the encoder asks each of them."""
    graph = av.filter.Graph()
    pixel_format = av.VideoFormat(plan.pix_fmt, plan.width, plan.height)
    begin = graph.add_buffer(width=plan.width, height=plan.height, format=pixel_format, time_base=plan.time_base)
    mark, end = graph.add("setfield", f"{plan.first_field[0]}ff"), graph.add("buffersink")
    begin.link_to(mark)
    mark.link_to(end)
    graph.configure()
    return graph


def _options(plan: EncodingPlan) -> dict[str, str]:
    # Otherwise x264 makes a key frame that is asked for one that later frames may look past.
    return dict(plan.settings) | ({"forced-idr": "1"} if plan.encoder == "libx264" else {})


def check_encoder(encoding: EncodingOptions, source: VideoInfo, suffix: str) -> EncodingPlan:
    """Really encode two frames of the source's size into memory, and return the plan that did it.

    ``suffix`` is that of the file to be written. Raises ``EncoderError`` with FFmpeg's reason if the encoder is missing
    or refuses, and as ``plan_encoding`` does.
    """
    plan = plan_encoding(encoding, source, suffix)
    pixels = np.full((source.height, source.width, 3), 128, np.uint8)
    alpha = np.full((source.height, source.width), 255, np.uint8) if plan.alpha else None
    try:
        with av.open(io.BytesIO(), "w", format=plan.container) as container:
            track = VideoTrack(container, plan, source)
            for index in range(2):
                container.mux(track.encode(ArrayFrame(index, index / source.fps, pixels, alpha), 1 / source.fps))
            container.mux(track.flush())
    except (av.FFmpegError, ValueError) as cause:
        raise encoder_error(plan, source, cause) from cause
    return plan


def encoder_error(plan: EncodingPlan, source: VideoInfo, cause: Exception) -> EncoderError:
    """The error for an encoder that is missing or fails."""
    reason = getattr(cause, "strerror", None) or str(cause)
    return EncoderError(
        f"The encoder {plan.encoder} fails on {source.width} x {source.height} pixels in {plan.pix_fmt}: {reason}.",
        remedy="Choose another --codec, or leave codec and pixel format to be chosen automatically.",
    )

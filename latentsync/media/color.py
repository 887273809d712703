"""Between the YUV of files and the RGB of frames, with as little loss as 8 bits allow.

One rule says how a stream's tags are read, for decoding and encoding alike, so that a frame which nobody touches comes
back as it was. A stream that states no matrix is read as BT.601 whatever its size: that is FFmpeg's own convention, and
players never see the difference, since the same matrix is undone on writing.

FFmpeg's quick converter rounds down and so darkens every image by about one level (measured: mean error -0.9 to -1.1
of 255 in limited range). Here its accurate one is used, through planar RGB, for which it has vector code: exact to
rounding, at a third of the cost of going to packed RGB directly.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from latentsync.media.threads import image_threads
from latentsync.types import ColorTags
from latentsync.yuv import YuvLayout

# FFmpeg's code of a matrix (AVColorSpace) -> code of the coefficients that swscale knows for it. 10 is BT.2020 with
# constant luminance, for which swscale has no transform of its own.
_COEFFICIENTS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT601 = 5
_UNSTATED = (0, 2, 3)  # RGB, unspecified, reserved
_LUMA = {1: (0.2126, 0.0722), 4: (0.3, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}  # by swscale's
# code: shares of red and blue in luma

_YUV = ("yuv420p", "yuv422p", "yuv444p")
# Full-range values of 10 bits -> 8 bits; the half undoes swscale's rounding down of chroma.
_TEN_BITS = np.arange(1024)
_LUMA_8 = np.rint(_TEN_BITS * 255 / 1023).astype(np.uint8)
_CHROMA_8 = np.rint((_TEN_BITS + 0.5 - 512) * 255 / 1023 + 128).clip(0, 255).astype(np.uint8)

_DECODE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_REDUCE = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Averaging undoes bicubic chroma interpolation better than bilinear or none. Real clips come back, on average, within
# 0.02 (luma) and 0.14 (chroma) levels of their planes; at 224 x 224 pixels within 0.06 and 0.40.
_ENCODE = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def has_alpha(pix_fmt: str) -> bool:
    """Whether a pixel format has an alpha plane."""
    return any(component.is_alpha for component in av.VideoFormat(pix_fmt).components)


def is_rgb(pix_fmt: str) -> bool:
    """Whether a pixel format holds RGB, directly or through a palette."""
    return av.VideoFormat(pix_fmt).is_rgb or pix_fmt == "pal8"


def bit_depth(pix_fmt: str) -> int:
    """Most bits that a component of a pixel format has."""
    return max(component.bits for component in av.VideoFormat(pix_fmt).components)


def coefficients(color: ColorTags) -> int:
    """swscale's code of the YUV matrix to use for these tags: BT.601 where none or an unknown one is given."""
    return _COEFFICIENTS.get(color.matrix, _BT601)


def matrix_is_known(color: ColorTags) -> bool:
    """False if the stream states a matrix that cannot be honoured."""
    return color.matrix in _COEFFICIENTS or color.matrix in _UNSTATED


def value_range(color: ColorTags, pix_fmt: str) -> ColorRange:
    """Full range if the stream says so or its pixel format implies it, limited range otherwise."""
    implied = pix_fmt.startswith(("yuvj", "gray", "ya8", "ya16")) and color.full_range is None
    return ColorRange.JPEG if color.full_range or implied else ColorRange.MPEG


@dataclass(frozen=True)
class Reading:
    """How the values of planes are meant: swscale's code of the matrix, and the range."""

    matrix: int
    value_range: ColorRange

    @classmethod
    def of(cls, color: ColorTags, pix_fmt: str) -> Reading:
        """What a stream of that format says with its tags."""
        return cls(coefficients(color), value_range(color, pix_fmt))


@functools.lru_cache(maxsize=16)
def yuv_layout(reading: Reading) -> YuvLayout:
    """What 8-bit planes mean that are read so, with chroma in the middle of its pixels, as swscale takes it."""
    red, blue = _LUMA[reading.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    linear = np.stack([
        luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)), (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    ])  # fmt: skip
    full = reading.value_range is ColorRange.JPEG
    scale = np.array([1, 1, 1]) if full else np.array([219, 224, 224]) / 255
    return YuvLayout.of(linear * scale[:, None], np.array([0 if full else 16, 128, 128]))


class _Converter(threading.local):
    """FFmpeg's, one for each thread. It keeps what it has set up while the sizes stay the same."""

    def __init__(self) -> None:
        self.reformat = VideoReformatter().reformat


_converter = _Converter()


def rgb_of(frame: av.VideoFrame, reading: Reading, threads: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an upright frame, by as many ``threads`` (None: as are worth it). Any thread may ask."""
    threads = image_threads(frame.width * frame.height) if threads is None else threads
    return _packed(frame, reading, (frame.width, frame.height), _DECODE, threads)


def rgb_samples(frame: av.VideoFrame, reading: Reading, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB: pixels of an upright frame on an even grid, each with the chroma next to it."""
    return _packed(frame, reading, (width, height), Interpolation.POINT, threads=1)


def rgb_reduced(frame: av.VideoFrame, reading: Reading, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an upright frame made smaller, by averaging."""
    return _packed(frame, reading, (width, height), _REDUCE, threads=1)


def _packed(
    frame: av.VideoFrame, reading: Reading, size: tuple[int, int], interpolation: Interpolation, threads: int
) -> np.ndarray:
    # With one thread setting up costs nothing beside the conversion, and parts have another size every time.
    reformat = VideoReformatter().reformat if threads == 1 else _converter.reformat
    planar = reformat(
        frame,
        *size,
        format="gbrp",
        src_colorspace=reading.matrix,
        src_color_range=reading.value_range,
        interpolation=interpolation,
        threads=threads,
    )
    green, blue, red = (plane_view(plane) for plane in planar.planes)
    return cv2.merge([red, green, blue])


class RgbToFrame:
    """Turns RGB (and alpha) into frames of ``pix_fmt`` that carry the tags ``color``."""

    def __init__(self, color: ColorTags, pix_fmt: str) -> None:
        self.pix_fmt, self.reading = pix_fmt, Reading.of(color, pix_fmt)
        # swscale rounds full-range chroma down (measured: half a level), so that goes through 10 bits.
        self._rounded = self.reading.value_range is ColorRange.JPEG and pix_fmt in _YUV
        self._reformatter = VideoReformatter()

    def __call__(self, pixels: np.ndarray, alpha: np.ndarray | None) -> av.VideoFrame:
        """pixels (H, W, 3) uint8, alpha (H, W) uint8 where ``pix_fmt`` has a plane for it."""
        if alpha is not None:
            merged: np.ndarray = cv2.merge([*cv2.split(pixels), alpha])
            packed = av.VideoFrame.from_numpy_buffer(merged, "rgba")
        else:
            packed = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), "rgb24")
        frame = self._reformatter.reformat(
            packed,
            format=f"{self.pix_fmt}10le" if self._rounded else self.pix_fmt,
            dst_colorspace=self.reading.matrix,
            dst_color_range=self.reading.value_range,
            interpolation=_ENCODE,
            threads=image_threads(packed.width * packed.height),
        )
        if self._rounded:
            return _to_8_bits(frame, self.pix_fmt)
        if alpha is not None and _has_alpha_plane(frame.format):
            _write_alpha_plane(frame, alpha)
        return frame


def _to_8_bits(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """A 10-bit full-range frame rounded to the 8-bit format of the same layout."""
    rounded = av.VideoFrame(frame.width, frame.height, pix_fmt)
    for wide, narrow, table in zip(frame.planes, rounded.planes, (_LUMA_8, _CHROMA_8, _CHROMA_8), strict=True):
        plane_view(narrow)[:] = table[plane_view(wide, bits=10)]
    return rounded


# swscale treats alpha like luma and changes its range on the way, so planes of alpha are copied here instead.


def _has_alpha_plane(pixel_format: av.VideoFormat) -> bool:
    return pixel_format.name.startswith(("yuva", "gbrap")) and not pixel_format.is_big_endian


def alpha_of(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) uint8 alpha of a frame whose pixel format has it, as decoded."""
    if not _has_alpha_plane(frame.format):
        return plane_view(frame.reformat(format="gbrap").planes[3]).copy()
    bits = frame.format.components[3].bits
    alpha = plane_view(frame.planes[3], bits)
    return alpha.copy() if bits == 8 else (alpha >> (bits - 8)).astype(np.uint8)


def _write_alpha_plane(frame: av.VideoFrame, alpha: np.ndarray) -> None:
    bits = frame.format.components[3].bits
    if bits > 8:  # repeat the high bits below: 255 becomes the most that the format holds
        wide = alpha.astype(np.uint16)
        alpha = wide << (bits - 8) | wide >> (16 - bits)
    plane_view(frame.planes[3], bits)[:] = alpha


def plane_view(plane: av.video.plane.VideoPlane, bits: int = 8) -> np.ndarray:
    """(h, w) view of the samples of a plane without its padding: uint8, or uint16 for more than 8 ``bits``."""
    dtype: np.dtype[Any] = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    buffer: Any = plane  # which PyAV's types do not say
    return np.frombuffer(buffer, dtype).reshape(-1, plane.line_size // dtype.itemsize)[: plane.height, : plane.width]

"""Decoded frames that stay as the decoder gave them: RGB where somebody looks, other planes where somebody painted.

Making RGB of a whole frame and planes of that again takes as long as decoding it twice over, and rounds every value
two times. Who dubs a face looks at a part of the frame and changes a smaller one. So a ``DecodedFrame`` converts the
part that is asked for, and on the way to the encoder only samples under pixels that have changed are made anew: all
others are the decoder's own, bit for bit, with all the bits that they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import cv2
import numpy as np

from latentsync.media.color import (
    Reading,
    RgbToFrame,
    alpha_of,
    plane_view,
    rgb_of,
    rgb_reduced,
    rgb_samples,
    yuv_layout,
)
from latentsync.types import ArrayFrame, Box, Frame, reduced_size
from latentsync.yuv import YuvFrame, YuvLayout

# Pixels around a part that are converted with it, so that it comes out as it does from the whole frame (measured).
_READ_MARGIN = 16  # bicubic chroma reaches 3; swscale interpolates otherwise in images of less than 14 x 12 pixels
_WRITTEN_MARGIN = 2  # swscale averages otherwise in images of 2 columns or rows
_LAYOUTS = frozenset(f"yuv{chroma}p{depth}" for chroma in ("420", "422", "444") for depth in ("", "10le", "12le"))


def frame_of(index: int, time: Fraction, planes: av.VideoFrame, reading: Reading, alpha: bool) -> Frame:
    """A frame of an upright decoded image, with its alpha plane if ``alpha``."""
    if not alpha and in_parts(planes.format.name, planes.width, planes.height):
        return DecodedFrame(index, time, _Image(planes, reading))
    return ArrayFrame(index, time, rgb_of(planes, reading), alpha_of(planes) if alpha else None)


def layout_of(pix_fmt: str) -> str:
    """A pixel format without the range that the old JPEG formats imply."""
    return pix_fmt.replace("yuvj", "yuv")


def in_parts(pix_fmt: str, width: int, height: int) -> bool:
    """Whether images can be converted part by part: YUV planes, each sample of chroma with all its pixels."""
    layout = av.VideoFormat(pix_fmt, width, height)
    return layout_of(pix_fmt) in _LAYOUTS and not (width % layout.chroma_width() or height % layout.chroma_height())


class _Image:
    """What the decoder gave, what was painted over it, and RGB of the part of it that was asked for last.

    ``painted``: number of a plane, box in its samples, and those that are there now (h, w), in the order of painting.
    """

    def __init__(
        self, planes: av.VideoFrame, reading: Reading, painted: tuple[tuple[int, Box, np.ndarray], ...] = ()
    ) -> None:
        self.planes, self.reading, self.painted = planes, reading, painted
        self.whole: Box = (0, 0, planes.width, planes.height)
        self._known: tuple[Box, np.ndarray] = (0, 0, 0, 0), np.empty((0, 0, 3), np.uint8)

    def region(self, box: Box) -> np.ndarray:
        """See ``Frame``."""
        known = self._known
        if not _holds(known[0], box):
            known = self._known = box, self._converted(box)
        (left, top, _, _), pixels = known
        x0, y0, x1, y1 = box
        return pixels[y0 - top : y1 - top, x0 - left : x1 - left]

    def _converted(self, box: Box) -> np.ndarray:
        left, top, right, bottom = around = _even(box, self.planes, _READ_MARGIN)
        x0, y0, x1, y1 = box
        if around == self.whole:
            return rgb_of(self.shown(), self.reading)[y0:y1, x0:x1]
        part = self.cut(around, self.planes.format.name)
        return rgb_of(part, self.reading, threads=1)[y0 - top : y1 - top, x0 - left : x1 - left]

    def shown(self) -> av.VideoFrame:
        """The planes, with what is painted; not to be written to."""
        return self.cut(self.whole, self.planes.format.name) if self.painted else self.planes

    def cut(self, box: Box, pix_fmt: str) -> av.VideoFrame:
        """A copy of a part, as a frame of a format with the same planes."""
        part = av.VideoFrame(box[2] - box[0], box[3] - box[1], pix_fmt)
        for number, (source, target) in enumerate(_matching(self.planes, box, part)):
            target[:] = source
            rows, columns = target.shape
            x, y = box[0] * columns // part.width, box[1] * rows // part.height
            self._paint(number, (x, y, x + columns, y + rows), target)
        return part

    def plane(self, number: int, box: Box) -> np.ndarray:
        """See ``YuvFrame``."""
        x0, y0, x1, y1 = box
        samples = plane_view(self.planes.planes[number])[y0:y1, x0:x1]
        if self.painted:
            samples = samples.copy()
            self._paint(number, box, samples)
        return samples

    def _paint(self, number: int, box: Box, samples: np.ndarray) -> None:
        """What is painted of a plane, into the ``samples`` of it in ``box``."""
        for plane, place, painted in self.painted:
            if plane == number:
                _overlay(samples, box, place, painted)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame(YuvFrame):
    """A ``Frame`` of a video file. Any thread may ask for its pixels.

    ``patches``: boxes and the pixels (y1 - y0, x1 - x0, 3) uint8 painted over them, in this order.
    """

    index: int
    time: Fraction
    image: _Image
    patches: tuple[tuple[Box, np.ndarray], ...] = ()

    @property
    def pixels(self) -> np.ndarray:
        """See ``Frame``."""
        return self.region(self.image.whole)

    @property
    def alpha(self) -> None:
        """Decoded frames are opaque."""
        return None

    @property
    def shape(self) -> tuple[int, int, int]:
        """See ``Frame``."""
        return self.image.planes.height, self.image.planes.width, 3

    def shown_at(self, time: Fraction, index: int | None = None) -> DecodedFrame:
        """See ``Frame``."""
        return replace(self, time=time, index=self.index if index is None else index)

    def region(self, box: Box) -> np.ndarray:
        """See ``Frame``."""
        part = self.image.region(box)
        if not self.patches:
            return part
        part = part.copy()
        for place, pixels in self.patches:
            _overlay(part, box, place, pixels)
        return part

    def samples(self, width: int, height: int) -> np.ndarray:
        """See ``Frame``."""
        if self.patches:
            return self._painted().samples(width, height)
        return rgb_samples(self.image.shown(), self.image.reading, width, height)

    def reduced(self, scale: float) -> np.ndarray:
        """See ``Frame``."""
        if self.patches:
            return self._painted().reduced(scale)
        return rgb_reduced(self.image.shown(), self.image.reading, *reduced_size(self.shape, scale))

    def patched(self, box: Box, pixels: np.ndarray) -> DecodedFrame:
        """See ``Frame``."""
        return replace(self, patches=(*self.patches, (box, pixels)))

    @property
    def yuv_layout(self) -> YuvLayout | None:
        """See ``YuvFrame``."""
        is_such = not self.patches and layout_of(self.image.planes.format.name) == "yuv420p"
        return yuv_layout(self.image.reading) if is_such else None

    def plane(self, number: int, box: Box) -> np.ndarray:
        """See ``YuvFrame``."""
        return self.image.plane(number, box)

    def with_planes(self, box: Box, planes: Sequence[np.ndarray]) -> DecodedFrame:
        """See ``YuvFrame``."""
        x0, y0, x1, y1 = box
        boxes = box, *[(x0 // 2, y0 // 2, x1 // 2, y1 // 2)] * 2
        painted = tuple((number, *pair) for number, pair in enumerate(zip(boxes, planes, strict=True)))
        image = _Image(self.image.planes, self.image.reading, (*self.image.painted, *painted))
        return replace(self, image=image)

    def _painted(self) -> ArrayFrame:
        return ArrayFrame(self.index, self.time, self.pixels)

    def planes_for(self, to_frame: RgbToFrame) -> av.VideoFrame | None:
        """A copy of the decoder's planes for an encoder, changed under the pixels that patches have changed.

        None if the encoder takes another format than the decoder gives, or reads it in another way.
        """
        planes = self.image.planes
        if to_frame.pix_fmt != layout_of(planes.format.name) or to_frame.reading != self.image.reading:
            return None
        result = self.image.cut(self.image.whole, to_frame.pix_fmt)
        for patch, _ in self.patches:
            box = _even(patch, planes, _WRITTEN_MARGIN)
            painted = self.region(box)
            difference = cv2.absdiff(painted, self.image.region(box))
            changed = cv2.bitwise_not(cv2.inRange(difference, (0, 0, 0), (0, 0, 0)))
            for target, source in _matching(result, box, to_frame(painted, None)):
                cv2.copyTo(source, _changed_samples(changed, source.shape), target)
        return result


def _holds(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _even(box: Box, planes: av.VideoFrame, margin: int) -> Box:
    """The least box around one and its margin that lies inside and has all pixels of its chroma samples."""
    x0, y0, x1, y1 = box
    left, top = (max(0, (low - margin) // 2 * 2) for low in (x0, y0))
    return left, top, min(planes.width, (x1 + margin + 1) // 2 * 2), min(planes.height, (y1 + margin + 1) // 2 * 2)


def _overlay(part: np.ndarray, box: Box, place: Box, painted: np.ndarray) -> None:
    """``painted``, which lies at ``place``, over what of it is in a ``part`` that lies at ``box``."""
    (x0, y0, _, _), (left, top, _, _) = box, place
    low_x, low_y, high_x, high_y = max(left, x0), max(top, y0), min(place[2], box[2]), min(place[3], box[3])
    if low_x < high_x and low_y < high_y:
        inside = painted[low_y - top : high_y - top, low_x - left : high_x - left]
        part[low_y - y0 : high_y - y0, low_x - x0 : high_x - x0] = inside


def _matching(planes: av.VideoFrame, box: Box, part: av.VideoFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each plane, the samples of a part of a frame and those of a frame that has its size."""
    x0, y0, _, _ = box
    for whole, own, component in zip(planes.planes, part.planes, planes.format.components, strict=True):
        x, y = x0 * whole.width // planes.width, y0 * whole.height // planes.height
        samples = plane_view(own, component.bits)
        rows, columns = samples.shape
        yield plane_view(whole, component.bits)[y : y + rows, x : x + columns], samples


def _changed_samples(changed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which samples of a plane of that shape have a changed pixel, from (h, w) uint8, 0 or 255."""
    for axis in range(2):
        if changed.shape[axis] != shape[axis]:
            even, odd = (slice(None),) * axis + (slice(0, None, 2),), (slice(None),) * axis + (slice(1, None, 2),)
            changed = changed[even] | changed[odd]
    return changed

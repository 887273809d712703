"""What is before the faces of a run stays as it is: the stage between alignment and windows that says where.

Three sources, by ``VisibilitySettings.occlusion``: the finder of ``face.occlusion``, a network of the user's, or a
video whose white pixels keep the source. All of them write ``FaceFrame.visible``. They do not change which faces are
generated, so the network's work is the same with and without them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import ConfigError
from latentsync.face.look import Look
from latentsync.face.occlusion import REACH, SETTLED, OcclusionFinder
from latentsync.face.resample import warp_frame
from latentsync.face.similarity import transform
from latentsync.face.user_network import SUFFIXES, load_segmenter
from latentsync.face.visibility import AUTO, OFF
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.windows import AlignedFrame, FaceFrame, is_cut
from latentsync.media.video import VideoFile
from latentsync.types import Frame, VideoSource

LONGEST_DIFFERENCE = Fraction(1, 2)  # seconds that a mask may be shorter than the video
_SHAPE_TOLERANCE = 0.02  # by which width over height of the two may differ
_FAR = 25  # frames: a longer jump is faster by seeking than by decoding what lies between
Cover = Callable[[FaceFrame], np.ndarray]  # (h, w) float32 in [0, 1] on the canvas, of any size; 1 = before the face


def occlusion_reach(options: SyncOptions) -> tuple[int, int]:
    """Frames before and after its own that decide what is before a face."""
    is_auto = options.compat is None and options.visibility.occlusion == AUTO
    return (SETTLED, REACH) if is_auto else (0, 0)


class OcclusionStage:
    """The stage of one run. Raises ``ConfigError`` and its kin for a file that cannot be used; none with ``compat``."""

    def __init__(self, options: SyncOptions, video: VideoSource, clock: StageClock | None = None) -> None:
        self._clock = clock or StageClock()
        self._mode = OFF if options.compat is not None else options.visibility.occlusion
        self._cover: Cover | None = None
        if self._mode in (AUTO, OFF):
            return
        path = Path(self._mode)
        if path.suffix.lower() in SUFFIXES:
            segmenter = load_segmenter(path)
            self._cover = lambda member: segmenter(member.face.pixels)
        else:
            self._cover = MaskVideo(path, video).cover

    def apply(self, frames: Iterator[AlignedFrame]) -> Iterator[AlignedFrame]:
        """The frames, with ``visible`` where something is before the face."""
        if self._mode == OFF:
            return frames
        return self._found(frames) if self._cover is None else self._given(frames, self._cover)

    def _given(self, frames: Iterator[AlignedFrame], cover: Cover) -> Iterator[AlignedFrame]:
        for member in frames:
            if isinstance(member, FaceFrame):
                with self._clock.measure("occlusion"):
                    member = with_cover(member, cover(member))
            yield member

    def _found(self, frames: Iterator[AlignedFrame]) -> Iterator[AlignedFrame]:
        finder, waiting = OcclusionFinder(), deque[AlignedFrame]()
        for member in frames:
            if waiting and is_cut(waiting[-1], member):
                for cover in finder.finish():
                    yield with_cover(waiting.popleft(), cover)
            waiting.append(member)
            with self._clock.measure("occlusion"):
                look = None
                if isinstance(member, FaceFrame):
                    look = Look.of(member.face.pixels, member.face.matrix, member.observation.landmarks)
                covers = list(finder.push(member.frame.index, look))
            for cover in covers:
                yield with_cover(waiting.popleft(), cover)
        for cover in finder.finish():
            yield with_cover(waiting.popleft(), cover)


def with_cover(member: AlignedFrame, cover: np.ndarray | None) -> AlignedFrame:
    """The frame with what a cover (h, w) leaves visible; its confidence is at most the share of the mouth that is."""
    if cover is None or not isinstance(member, FaceFrame) or not cover.any():
        return member
    side = member.face.pixels.shape[-1]
    visible = 1 - np.clip(cv2.resize(cover.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR), 0, 1)
    lips = transform(member.face.matrix, member.observation.landmarks[48:60])
    (left, top), (right, bottom) = (np.clip(corner, 0, side - 1).astype(int) for corner in (lips.min(0), lips.max(0)))
    seen = float(visible[top : bottom + 1, left : right + 1].mean())
    return replace(member, visible=visible, confidence=min(member.confidence, seen))


class MaskVideo:
    """A video as long as the source whose white pixels keep the source, at each of its moments.

    Raises ``ConfigError`` if it is shorter or of another shape, and what ``VideoFile`` raises.
    """

    def __init__(self, path: Path, source: VideoSource) -> None:
        self._video = VideoFile(path)
        info, of = self._video.info, source.info
        self._scale = np.array([info.width / of.width, info.height / of.height])
        is_short = info.duration < of.duration - LONGEST_DIFFERENCE
        if is_short or abs(self._scale[0] / self._scale[1] - 1) > _SHAPE_TOLERANCE:
            raise ConfigError(
                f"The mask {path} is {info.width} x {info.height} px and {float(info.duration):.2f} s, the video "
                f"{of.width} x {of.height} px and {float(of.duration):.2f} s.",
                remedy="Give a mask of the same shape and length.",
            )
        own = np.array([float(time) for time in self._video.times()])
        shown = np.array([float(time) for time in source.times()])
        self._numbers = np.clip(np.searchsorted(own, shown + 1e-4, side="right") - 1, 0, len(own) - 1)
        self._reading: Generator[Frame, None, None] | None = None
        self._last: Frame | None = None
        self._step = 1

    def cover(self, member: FaceFrame) -> np.ndarray:
        """(R, R) float32: how white the mask is on the canvas of a frame of the source."""
        frame = self._at(int(self._numbers[member.frame.index]))
        side = member.face.pixels.shape[-1]
        matrix = member.face.matrix.copy()
        matrix[:, :2] /= self._scale
        matrix[:, 2] += member.face.matrix[:, :2] @ (0.5 / self._scale - 0.5)  # pixel centres lie at whole numbers
        return np.clip(warp_frame(frame, matrix, (side, side), 0).mean(axis=-1) / 255, 0, 1)

    def _at(self, number: int) -> Frame:
        """The frame of that number; quick where the numbers go steadily up or down."""
        if self._last is not None and self._last.index == number:
            return self._last
        ahead = 0 if self._last is None else (number - self._last.index) * self._step
        if self._reading is None or not 0 < ahead <= _FAR:
            self.close()
            self._step = -1 if self._last is not None and number < self._last.index else 1
            backwards = self._step < 0
            self._reading = self._video.frames(*((0, number + 1) if backwards else (number, None)), reverse=backwards)
        for frame in self._reading:
            self._last = frame
            if frame.index == number:
                break
        assert self._last is not None  # the numbers are those of its frames
        return self._last

    def close(self) -> None:
        """Close the file."""
        if self._reading is not None:
            with closing(self._reading):
                self._reading = None

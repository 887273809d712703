"""A video as a source of numbered RGB frames: forwards, backwards, from anywhere, in constant memory."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from latentsync.errors import VideoError
from latentsync.media.color import Reading
from latentsync.media.decoder import decode_all, decode_from
from latentsync.media.deinterlacing import deinterlaced
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.planes import frame_of
from latentsync.media.probe import inspect_clip
from latentsync.media.rotation import Upright, orientation_of
from latentsync.types import Frame

_Decoded = Generator[tuple[int, av.VideoFrame], None, None]  # frames with their numbers
_REVERSE_BYTES = 128 * 2**20  # of decoded frames that are held to give them backwards
_REVERSE_FRAMES = 16  # held whatever their size: fewer would decode long groups of pictures too often
_SAMPLED_STRETCH = 300  # frames that are decoded to sample a video with few key frames
LONGEST_REPAIR = Fraction(1)  # seconds of undecodable video that are bridged by repeating the frame before, unasked


class VideoFile:
    """A video file, an image, or a folder of images in the order of their names (``types.VideoSource``).

    ``info`` is what ``probe_video`` says; ``notes`` are remarks for the user, and grow when damage is met. ``fps`` is
    the rate of images that have none (default 25). ``limits`` hold for every frame that is decoded. ``longest_repair``:
    seconds of damage that are bridged by the frame before it; None: any. ``deinterlace``: fields become frames, where
    there are any. Raises as ``probe_video`` does.
    """

    def __init__(
        self,
        path: Path | str,
        fps: Fraction | None = None,
        limits: MediaLimits = GENEROUS,
        longest_repair: Fraction | None = LONGEST_REPAIR,
        deinterlace: bool = False,
    ) -> None:
        self._clip, self.limits, self._longest_repair = inspect_clip(path, fps, limits), limits, longest_repair
        self._fields = self._clip.info.first_field if deinterlace else ""
        self.info = replace(self._clip.info, first_field="") if deinterlace else self._clip.info
        self.notes: list[str] = list(self._clip.notes)

    @property
    def start(self) -> Fraction:
        """When the first frame is shown: seconds on the clock that the file's audio has too (``audio.audio_start``)."""
        timeline = self._clip.timeline
        return timeline.stamp(0) * timeline.time_base

    @property
    def is_images(self) -> bool:
        """Whether it is an image or a folder of images, which have no rate of their own."""
        return bool(self._clip.files) or self._clip.still

    def times(self) -> list[Fraction]:
        """When each frame is shown, seconds from the first; nothing is decoded."""
        return [self._clip.timeline.time(index) for index in range(self.info.n_frames)]

    def frames(
        self, start: int = 0, stop: int | None = None, *, reverse: bool = False, only: Container[int] | None = None
    ) -> Generator[Frame, None, None]:
        """Frames ``start`` to ``stop - 1``, upright, in ascending order, or the same ones descending if ``reverse``;
        of these ``only`` those whose number is in that set, if one is given.

        Every index of the range is given exactly once, with its exact time from the first frame. Frames that cannot be
        decoded are replaced by the one before (and noted); if that would last longer than is bridged, ``VideoError`` is
        raised. The file is closed when the iterator ends or is closed.
        """
        stop = self.info.n_frames if stop is None else min(stop, self.info.n_frames)
        decoded = self._backwards(start, stop) if reverse else self._forwards(start, stop)
        upright = Upright(*self._clip.coded_size, self._clip.orientation)
        reading = Reading.of(self.info.color, self.info.pix_fmt)
        try:
            for index, frame in decoded:
                if only is not None and index not in only:
                    continue
                self._check_size(index, frame)
                yield frame_of(index, self._clip.timeline.time(index), upright(frame), reading, self.info.has_alpha)
        finally:
            decoded.close()

    def sample(self, count: int) -> Iterator[Frame]:
        """About ``count`` frames that are cheap to reach, in ascending order: key frames spread over the whole video.

        Where there are too few of those, frames spread over the first ``_SAMPLED_STRETCH``.
        """
        keys = self._clip.timeline.keys
        if len(keys) >= count // 2:
            for index in keys[np.unique(np.linspace(0, len(keys) - 1, count).round().astype(int))]:
                yield from self.frames(int(index), int(index) + 1)
            return
        stretch = min(self.info.n_frames, _SAMPLED_STRETCH)
        wanted = set(np.linspace(0, stretch - 1, count).round().astype(int).tolist())
        yield from self.frames(0, stretch, only=wanted)

    def _forwards(self, start: int, stop: int) -> _Decoded:
        """Exactly the indices ``start`` to ``stop - 1``.

        If decoding from the nearest key frame leaves a gap, an earlier one is tried, and at last the start of the file:
        only what is missing even then is missing in the file.
        """
        nearest = self._clip.timeline.key_before(start) if start < stop else 0
        earlier = self._clip.timeline.key_before(nearest - 1) if nearest > 0 else 0
        for key in sorted({nearest, earlier, 0}, reverse=True):
            for index, frame in self._consecutive(key, start, stop):
                yield index, frame
                start = index + 1
            if start >= stop:
                return

    def _consecutive(self, key: int, start: int, stop: int) -> _Decoded:
        """Frames from ``start`` on, decoded from ``key``: up to the first gap, or past all of them if ``key`` is 0."""
        if start >= stop:
            return
        expected, before = start, None
        with closing(self._decode(key)) as decoded:
            for index, frame in decoded:
                if index > expected:
                    if key > 0:
                        return
                    yield from self._repeat(before or frame, expected, min(index, stop))
                if expected <= index < stop:
                    yield index, frame
                before, expected = frame, max(expected, index + 1)
                if expected >= stop:
                    return
        if key == 0:
            yield from self._repeat(before, expected, stop)

    def _repeat(self, frame: av.VideoFrame | None, start: int, stop: int) -> _Decoded:
        """Stand-ins for frames ``start`` to ``stop - 1``, which cannot be decoded."""
        timeline = self._clip.timeline
        begin, end = timeline.time(start), timeline.time(stop) if stop < len(timeline) else timeline.duration
        where = f"{self.info.path}: the video cannot be decoded from {float(begin):.2f} s to {float(end):.2f} s"
        most = self._longest_repair
        if frame is None or (most is not None and end - begin > most):
            raise VideoError(f"{where}.", remedy="Get an undamaged copy, or cut that part out.")
        self._note(f"{where}: {stop - start} frame(s) are replaced by the one before")
        for index in range(start, stop):
            yield index, frame

    def _backwards(self, start: int, stop: int) -> _Decoded:
        """The same indices descending: stretches are decoded forwards and held as YUV, half the size of RGB."""
        width, height = self._clip.coded_size
        frame_bytes = width * height * av.VideoFormat(self.info.pix_fmt).padded_bits_per_pixel // 8
        most = max(_REVERSE_FRAMES, _REVERSE_BYTES // frame_bytes)
        keys = self._clip.timeline.keys
        while stop > start:
            low = max(start, stop - most)
            inside = keys[(keys >= low) & (keys < stop)]
            low = int(inside[0]) if len(inside) else low
            held = list(self._forwards(low, stop))
            while held:
                yield held.pop()
            stop = low

    def _decode(self, key: int) -> _Decoded:
        if self._clip.files:
            for index in range(key, len(self._clip.files)):
                for frame in islice(decode_all(self._clip.files[index], self.limits), 1):
                    orientation, _, _ = orientation_of(frame)
                    yield index, Upright(frame.width, frame.height, orientation)(frame)
        else:
            clip = self._clip
            decoded = decode_from(self.info.path, clip.timeline, key, clip.reorder_depth, self.limits)
            yield from deinterlaced(decoded, self._fields) if self._fields else decoded

    def _check_size(self, index: int, frame: av.VideoFrame) -> None:
        expected = self._clip.coded_size
        if (frame.width, frame.height) == expected:
            return
        change = f"is {frame.width} x {frame.height} pixels instead of {expected[0]} x {expected[1]}"
        if self._clip.files:
            raise VideoError(f"{self._clip.files[index]} {change}.", remedy="Give all pictures of a folder one size.")
        self._note(
            f"{self.info.path}: the picture {change} from {float(self._clip.timeline.time(index)):.2f} s, scaled"
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

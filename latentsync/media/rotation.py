"""Decoded frames turned as their container says that they are to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from latentsync.media.side_data import side_data_of
from latentsync.media.threads import image_threads


@dataclass(frozen=True)
class Orientation:
    """How decoded frames have to be turned to be seen upright: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: np.ndarray) -> Orientation | None:
        """From FFmpeg's (9,) int32 display matrix; None if that turns by something else than quarters."""
        a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))  # x' = a x + c y, y' = b x + d y
        if b == c == 0 and a and d:
            return cls(False, a < 0, d < 0)
        if a == d == 0 and b and c:
            return cls(True, c < 0, b < 0)
        return None

    def filters(self) -> list[tuple[str, str | None]]:
        """FFmpeg filters (name, arguments) that turn frames so."""
        chosen = [("transpose", "cclock_flip")] if self.transpose else []
        return chosen + [(name, None) for name, wanted in (("hflip", self.flip_x), ("vflip", self.flip_y)) if wanted]


def orientation_of(frame: av.VideoFrame) -> tuple[Orientation, int, str]:
    """How a decoded frame is to be turned, the angle that it states in degrees clockwise, and what a user should know.

    The container says so, or the EXIF data of a picture.
    """
    data, angle = side_data_of(frame, SideDataType.DISPLAYMATRIX), -frame.rotation % 360
    if data is None:
        return Orientation(), 0, ""
    orientation = Orientation.from_display_matrix(np.frombuffer(data, np.int32))
    if orientation is None:
        return Orientation(), 0, f"a rotation by {angle} degrees is ignored: only quarter turns are applied"
    return orientation, angle, ""


class Upright:
    """Turns the decoded frames of one stream as they are to be seen, in the pixel format that they have.

    Chroma samples are taken to lie amid their luma samples, whatever a stream says, as ``color.RgbToFrame`` puts them:
    with one rule both ways they come back as they were. (Most streams say half a pixel to the left.)
    """

    def __init__(self, width: int, height: int, orientation: Orientation) -> None:
        """``width``, ``height``: of the stream, before turning; frames of another size are scaled to it."""
        self._size = (width, height)
        self._filters = [*orientation.filters(), ("setparams", "chroma_location=unspecified")]
        self._graph: av.filter.Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame turned, or itself; for one thread."""
        if (frame.width, frame.height) != self._size:
            frame = frame.reformat(*self._size)
        return self._filtered(frame)

    def _filtered(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self._graph is None:
            self._graph = av.filter.Graph()
            self._graph.threads = image_threads(frame.width * frame.height)
            source = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1)
            )
            chain = [source, *(self._graph.add(*item) for item in self._filters), self._graph.add("buffersink")]
            for before, after in pairwise(chain):
                before.link_to(after)
            self._graph.configure()
        self._graph.vpush(frame)
        return self._graph.vpull()

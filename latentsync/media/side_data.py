"""What decoders attach to a frame besides its pixels: orientation, mastering data, light levels."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.sidedata.sidedata import Type as SideDataType

_EXIF = 31  # FFmpeg's number of that kind; PyAV has no name for it, and then gives none of a frame's side data


def side_data_of(frame: av.VideoFrame, kind: SideDataType) -> Any:
    """The bytes of one kind, laid out as FFmpeg's structure of it; None if the frame has none."""
    try:
        known: Any = frame.side_data  # PyAV's types know of motion vectors only
    except ValueError:
        known = _without_exif(frame).side_data
    try:
        return known[kind]
    except KeyError:
        return None


def _without_exif(frame: av.VideoFrame) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1))
    chain = [source, graph.add("sidedata", f"mode=delete:type={_EXIF}"), graph.add("buffersink")]
    for before, after in pairwise(chain):
        before.link_to(after)
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()

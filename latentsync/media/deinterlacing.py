"""Frames out of fields: each frame of an interlaced recording shows two moments, every other row one of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import pairwise

import av

from latentsync.media.threads import image_threads

Numbered = Generator[tuple[int, av.VideoFrame], None, None]  # decoded frames with their numbers


def deinterlaced(frames: Numbered, first_field: str) -> Numbered:
    """As many frames with the same numbers, each of the moment of its first field (FFmpeg's filter bwdif).

    ``first_field``: see ``types.VideoInfo``. Frames that are not interlaced stay as they are. Holds one frame.
    """
    graph: av.filter.Graph | None = None
    with closing(frames):
        for index, frame in frames:
            if graph is None:
                graph = _filter(frame, first_field)
            frame.pts, frame.time_base = index, Fraction(1)
            graph.vpush(frame)
            yield from _ready(graph)
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph)


def _filter(frame: av.VideoFrame, first_field: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = image_threads(frame.width * frame.height)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    settings = f"mode=send_frame:parity={first_field[0]}ff:deint=interlaced"
    chain = [source, graph.add("bwdif", settings), graph.add("buffersink")]
    for before, after in pairwise(chain):
        before.link_to(after)
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[tuple[int, av.VideoFrame]]:
    """What the filter has finished; it counts time in half frames."""
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert frame.pts is not None and frame.time_base is not None  # it hands on what it was given
        yield round(frame.pts * frame.time_base), frame

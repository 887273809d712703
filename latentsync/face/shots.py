"""Cuts between shots, found in a stream of frames by looking two frames ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median

import cv2
import numpy as np

from latentsync.face.layers import mixed
from latentsync.types import Frame
from latentsync.yuv import yuv_frame

THUMBNAIL_SIDE = 32  # px
THUMBNAIL_SAMPLES = 8  # pixels of the frame that are averaged along each side of a thumbnail's pixel
NEIGHBOURS = 2  # frame changes on each side that a cut must stand out from
BINS = 16  # of the histogram of a channel
HISTOGRAM_WEIGHT = 100.0  # grey levels that two histograms with nothing in common count for
MIN_CHANGE = 25.0  # grey levels; fast heads in real clips reach 21, cuts begin at 63
MIN_RATIO = 5.0  # over the median change of the neighbours plus one level


def mark_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, in order, with whether it is the first of a new shot; the very first frame is not marked.

    A cut is a change of the image that is much larger than the changes before and after it, the rule of PySceneDetect's
    adaptive detector. A fade is no such change; a flash counts as a shot of one frame.
    """
    pending: deque[Frame] = deque()
    changes: deque[float] = deque()  # of the pending frames and of up to NEIGHBOURS before them
    previous: np.ndarray | None = None
    for frame in frames:
        thumbnail = _thumbnail(frame)
        changes.append(0.0 if previous is None else _change(previous, thumbnail))
        previous = thumbnail
        pending.append(frame)
        if len(pending) > NEIGHBOURS:
            yield pending.popleft(), _decide(changes, len(pending))
    while pending:
        yield pending.popleft(), _decide(changes, len(pending))


def _decide(changes: deque[float], after: int) -> bool:
    """Whether the frame with ``after`` changes behind it begins a shot; drops the changes that are not needed again."""
    position = len(changes) - 1 - after
    change = changes[position]
    around = [
        value for offset, value in enumerate(changes) if offset != position and abs(offset - position) <= NEIGHBOURS
    ]
    while position >= NEIGHBOURS:
        changes.popleft()
        position -= 1
    return change > MIN_CHANGE and change > MIN_RATIO * (median(around or [0.0]) + 1)


def _thumbnail(frame: Frame) -> np.ndarray:
    """(32, 32, 3) uint8. Of planes averages are taken before they become RGB: it is the same, and there are few."""
    side, size = THUMBNAIL_SIDE * THUMBNAIL_SAMPLES, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    planar = yuv_frame(frame)
    if planar is None:
        return cv2.resize(frame.samples(side, side), size, interpolation=cv2.INTER_AREA)
    shown, layout = planar
    height, width = frame.shape[0], frame.shape[1]
    boxes = (0, 0, width, height), *[(0, 0, width // 2, height // 2)] * 2
    levels = []
    for number, box in enumerate(boxes):
        samples = cv2.resize(shown.plane(number, box), (side, side), interpolation=cv2.INTER_NEAREST_EXACT)
        levels.append(cv2.resize(samples.astype(np.float32), size, interpolation=cv2.INTER_AREA))
    return cv2.convertScaleAbs(np.maximum(cv2.merge([mixed(levels, row) for row in layout.to_rgb]), 0))


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """How different two thumbnails are, in grey levels: pixel by pixel, and by their histograms."""
    moved = np.abs(after.astype(np.float32) - before).mean()
    recolored = np.abs(_histograms(after) - _histograms(before)).sum(axis=1).mean() / 2
    return float(moved + HISTOGRAM_WEIGHT * recolored)


def _histograms(thumbnail: np.ndarray) -> np.ndarray:
    """(3, BINS) shares of the pixels."""
    levels = thumbnail.reshape(-1, 3) // (256 // BINS)
    return np.stack([np.bincount(channel, minlength=BINS) for channel in levels.T]) / len(levels)

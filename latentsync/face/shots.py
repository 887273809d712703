"""Where one shot ends and the next begins, from frames in a stream, looking two frames ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median

import cv2
import numpy as np

from latentsync.types import Frame

THUMBNAIL_SIDE = 32  # px
NEIGHBOURS = 2  # frame changes on each side that a cut must stand out from
MIN_CHANGE = 12.0  # grey levels, mean over the thumbnail
MIN_RATIO = 5.0  # over the median change of the neighbours plus one level; fast heads reach 4, cuts 8 and more


def mark_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame with whether it is the first of a new shot; the very first is not marked. Order is kept.

    A cut is a change of the picture that stands out from the changes around it, the rule of PySceneDetect's adaptive
    detector; a flash or a fade does not stand out in that way.
    """
    pending: deque[Frame] = deque()
    changes: deque[float] = deque()  # of the pending frames and of up to NEIGHBOURS before them
    previous: np.ndarray | None = None
    for frame in frames:
        thumbnail = _thumbnail(frame.pixels)
        changes.append(0.0 if previous is None else float(np.abs(thumbnail - previous).mean()))
        previous = thumbnail
        pending.append(frame)
        if len(pending) > NEIGHBOURS:
            yield pending.popleft(), _decide(changes, len(pending))
    while pending:
        yield pending.popleft(), _decide(changes, len(pending))


def _decide(changes: deque[float], after: int) -> bool:
    """Whether the frame with ``after`` changes behind it begins a shot; forgets changes no longer needed."""
    position = len(changes) - 1 - after
    change = changes[position]
    around = [
        value for offset, value in enumerate(changes) if offset != position and abs(offset - position) <= NEIGHBOURS
    ]
    while position >= NEIGHBOURS:
        changes.popleft()
        position -= 1
    return change > MIN_CHANGE and change > MIN_RATIO * (median(around or [0.0]) + 1)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)

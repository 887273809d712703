"""Flicker: what changes from one frame to the next although it should not. In grey levels of luma, 0 to 255.

Frames (H, W, 3) uint8 RGB are read one at a time, so a clip of any length takes the memory of two. Give aligned faces:
in whole frames the head's own movement drowns everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import cv2
import numpy as np

from latentsync.errors import DataError

_AROUND = 8  # steps before and after, that a change is compared with


def frame_changes(frames: Iterable[np.ndarray], region: np.ndarray | None = None) -> np.ndarray:
    """(N - 1,) float64: mean absolute change of luma at each step, over the pixels where ``region`` (H, W) is true."""
    return np.array([np.abs(step).mean() for step in _steps(frames, region)])


def flicker(frames: Iterable[np.ndarray], still: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean absolute change of luma over the steps at which nothing should move.

    ``still`` (N - 1,) bool says which these are, as a rule ``frame_changes(source, region) < limit``. Noise and
    compression alone give more than 0: compare with the same steps of the source. Raises ``DataError`` if
    nothing is still, ``ValueError`` if ``still`` has another length.
    """
    changes = frame_changes(frames, region)
    if changes.shape != np.shape(still):
        raise ValueError(f"{len(changes)} steps between the frames, {np.shape(still)} marks")
    if not np.any(still):
        raise DataError("Nothing in the clip stands still.", remedy="Measure flicker on clips in which the face rests.")
    return float(changes[np.asarray(still, bool)].mean())


def join_steps(n_frames: int, starts: Iterable[int], shared: int = 0, reach: int = 0) -> np.ndarray:
    """(n_frames - 1,) bool: the steps into the frames ``starts``, with which windows begin; with ``shared`` frames that
    two windows have in common, and ``reach`` more on either side, all steps over which they are joined."""
    steps = np.zeros(max(0, n_frames - 1), bool)
    for start in starts:
        steps[max(0, start - 1 - reach) : max(0, start + shared + reach)] = True
    return steps


def join_ratio(changes: np.ndarray, joins: np.ndarray) -> float:
    """Change from frame to frame where windows are joined, over that inside them; 1 is the aim, 1.5 a visible pulse.

    ``changes`` (N - 1,) as of ``frame_changes``, ``joins`` (N - 1,) bool as of ``join_steps``. Speech moves the mouth
    now more, now less, so each step counts relative to the median of those around it, 8 on either side. Raises
    ``DataError`` if there is no join or nothing else, or if nothing moves.
    """
    if changes.shape != np.shape(joins):
        raise ValueError(f"{len(changes)} steps between the frames, {np.shape(joins)} marks")
    if not joins.any() or joins.all():
        raise DataError("There is no join in the clip, or nothing else.", remedy="Measure joins on longer clips.")
    near = (np.r_[max(0, k - _AROUND) : k, k + 1 : min(len(changes), k + _AROUND + 1)] for k in range(len(changes)))
    around = np.array([np.median(changes[steps]) for steps in near])
    if not (around > 0).all():
        raise DataError("Nothing moves in the clip.", remedy="Measure joins on clips in which the face moves.")
    share = changes / around
    return float(share[joins].mean() / share[~joins].mean())


def strongest_join_ratio(changes: np.ndarray, period: int) -> float:
    """``join_ratio`` of windows of which is only known that they lie ``period`` frames apart: the largest that any
    first frame gives. Chance alone makes that more than 1: compare with the true recording. Raises ``DataError`` for a
    clip of less than three windows."""
    if len(changes) < 3 * period:
        raise DataError("The clip has less than three windows.", remedy="Measure joins on longer clips.")
    places = np.arange(len(changes)) % period
    return max(join_ratio(changes, places == place) for place in range(period))


def temporal_error(
    prediction: Iterable[np.ndarray], reference: Iterable[np.ndarray], region: np.ndarray | None = None
) -> float:
    """Mean absolute difference between the changes of two clips; 0 if both change alike, whatever they show.

    For reconstructions: it counts missing movement as well as flicker, and between different words it means nothing.
    Raises ``ValueError`` for clips of different lengths or of less than two frames.
    """
    pairs = zip(_steps(prediction, region), _steps(reference, region), strict=True)
    errors = [np.abs(a - b).mean() for a, b in pairs]
    if not errors:
        raise ValueError("a clip of less than two frames has no changes")
    return float(np.mean(errors))


def _steps(frames: Iterable[np.ndarray], region: np.ndarray | None) -> Iterator[np.ndarray]:
    """Change of luma in the region at each step, (pixels,) float32."""
    if region is not None and not np.any(region):
        raise ValueError("the region is empty")
    where = ... if region is None else np.asarray(region, bool)
    lumas = (cv2.cvtColor(frame.astype(np.float32), cv2.COLOR_RGB2GRAY)[where] for frame in frames)
    for before, after in pairwise(lumas):
        yield after - before

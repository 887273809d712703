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

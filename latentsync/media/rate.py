"""Frames of any video at a constant rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

from latentsync.constants import MODEL_FPS
from latentsync.types import Frame

T = TypeVar("T")


def at_rate(frames: Iterable[Frame], n_frames: int, fps: Fraction = MODEL_FPS) -> Iterator[Frame]:
    """``n_frames`` frames at a constant rate: at each time the source frame that is nearest to it, the earlier one of
    two equally near."""
    for index, shown in enumerate(nearest(frames, lambda frame: frame.time, n_frames, fps)):
        yield shown.shown_at(index / fps, index)


def nearest(
    items: Iterable[T], time: Callable[[T], Fraction], n_instants: int, fps: Fraction = MODEL_FPS
) -> Iterator[T]:
    """What is shown at the instants 0, 1 / ``fps``, ...: of at least one item in order of ``time``, in seconds, the one
    nearest to each instant, the earlier one of two equally near."""
    source = iter(items)
    shown = next(source)
    following = next(source, None)
    for index in range(n_instants):
        instant = index / fps
        while following is not None and time(following) - instant < instant - time(shown):
            shown, following = following, next(source, None)
        yield shown

"""What is shown where the network cannot keep up: the mouth keeps its shape, and the head moves on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import MakeGenerator
from latentsync.types import Window, WindowGenerator


class FreezeWhenLate:
    """Goes around the generator of a stream (``LipsyncPipeline.with_generator``).

    ``is_late`` is asked for each window, when its audio is there. A window that is late costs nothing: it gets the last
    face that was generated. The canvas shows every head upright and in the same place, so that a mouth fits the next
    heads too. There is always a face: the first window is generated in any case. ``frozen`` counts windows.
    """

    def __init__(self, is_late: Callable[[], bool]) -> None:
        self.frozen = 0
        self._is_late = is_late
        self._last: np.ndarray | None = None  # (3, R, R)

    def around(self, make: MakeGenerator) -> MakeGenerator:
        """The same generators, watched."""

        def watched(options: SyncOptions, *others: object) -> WindowGenerator:
            return _Watched(self, make(options, *others))  # type: ignore[arg-type]

        return watched

    def generate(self, windows: list[Window], generator: WindowGenerator) -> np.ndarray:
        """(n, F, 3, R, R): what the generator gives, or the last face again and again."""
        if self._last is not None and self._is_late():
            self.frozen += len(windows)
            return np.broadcast_to(self._last, (len(windows), *windows[0].faces.shape)).copy()
        faces = generator(windows)
        self._last = faces[-1, -1].copy()
        return faces


class _Watched:
    def __init__(self, late: FreezeWhenLate, generator: WindowGenerator) -> None:
        self.resolution = generator.resolution
        self._late, self._generator = late, generator

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``."""
        return self._late.generate(windows, self._generator)

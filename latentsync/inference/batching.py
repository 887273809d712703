"""Windows to the network in batches that shrink when memory runs out, and side by side on a CPU.

A small network keeps two threads only half busy on one operation, because they wait for each other at its end. Two
windows that are computed side by side do not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import takewhile
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from latentsync.inference.record import StageClock
from latentsync.inference.windows import FrameGroup
from latentsync.runtime.memory import Portions
from latentsync.stream import parallel_map
from latentsync.types import Window, WindowGenerator


@dataclass(frozen=True, slots=True)
class GeneratedGroup:
    """A group with the generated faces of its windows. ``faces``: one (F, 3, R, R) float32 array per window."""

    group: FrameGroup
    faces: tuple[np.ndarray, ...]


class GenerateBatch(Protocol):
    """Generates any number of windows, also none; ``AdaptiveBatch`` is one."""

    def __call__(self, windows: list[Window]) -> list[np.ndarray]:
        """One (F, 3, R, R) float32 array in [-1, 1] per window."""
        ...


def generate_groups(
    groups: Iterator[FrameGroup], generate: GenerateBatch, batch: int, clock: StageClock, in_flight: int = 1
) -> Iterator[GeneratedGroup]:
    """Generate the windows of several groups together; the groups come out in order, with their faces.

    At most ``2 * batch`` groups wait, so a long stretch without faces does not pile up in memory. ``in_flight``:
    batches that are in the hands of ``generate`` at once, each in a thread of its own; one more waits then.
    """
    in_work: deque[list[FrameGroup]] = deque()

    def batches() -> Iterator[list[Window]]:
        for together in _batches_of_groups(groups, batch):
            in_work.append(together)
            yield [window for group in together for window in group.windows]

    timed = clock.measure_once("generate")(generate)
    for found in map(timed, batches()) if in_flight == 1 else parallel_map(timed, batches(), in_flight):
        faces = iter(found)
        for group in in_work.popleft():
            yield GeneratedGroup(group, tuple(next(faces) for _ in group.windows))


def _batches_of_groups(groups: Iterator[FrameGroup], batch: int) -> Iterator[list[FrameGroup]]:
    pending: list[FrameGroup] = []
    n_windows = 0
    for group in groups:
        pending.append(group)
        n_windows += len(group.windows)
        if n_windows >= batch or n_windows == 0 or len(pending) >= 2 * batch:
            yield pending
            pending, n_windows = [], 0
    yield pending


class AdaptiveBatch(Portions):
    """Calls the network with as many windows as fit: halves their number when memory runs out, and keeps it there.

    ``reductions`` are for the report. ``filled``: a smaller batch is filled up by repeating its last window, so that a
    compiled network meets one number of windows only. Several threads may call it at once.
    """

    def __init__(self, generator: WindowGenerator, limit: int, filled: bool = False) -> None:
        remedy = "Close other programs, use a 256-pixel checkpoint, or run with --device cpu."
        super().__init__(limit, "a single window of frames", remedy)
        self.generator = generator
        self._filled = filled

    def __call__(self, windows: list[Window]) -> list[np.ndarray]:
        """One (F, 3, R, R) per window. Raises ``OutOfMemoryError`` when one window alone does not fit."""
        faces: list[np.ndarray] = []
        while len(faces) < len(windows):
            limit = self.limit
            chunk = _same_length(windows[len(faces) : len(faces) + limit])
            filling = [chunk[-1]] * (limit - len(chunk)) if self._filled else []
            done = self.attempt(self.generator, [*chunk, *filling])
            if done is not None:
                faces.extend(done[: len(chunk)])
        return faces


class ByVariant:
    """A ``GenerateBatch`` for windows of several settings: those of each (``Window.variant``) go to its own generator,
    together."""

    def __init__(self, generators: Sequence[AdaptiveBatch]) -> None:
        self._generators = generators

    @property
    def reductions(self) -> list[int]:
        """As ``AdaptiveBatch.reductions``, of all."""
        return [number for generator in self._generators for number in generator.reductions]

    def __call__(self, windows: list[Window]) -> list[np.ndarray]:
        """One (F, 3, R, R) per window, in order."""
        faces: dict[int, np.ndarray] = {}  # by place
        for variant in sorted({window.variant for window in windows}):
            places = [place for place, window in enumerate(windows) if window.variant == variant]
            made = self._generators[variant]([windows[place] for place in places])
            faces |= dict(zip(places, made, strict=True))
        return [faces[place] for place in range(len(windows))]


def _same_length(windows: list[Window]) -> list[Window]:
    """The leading windows that have as many frames as the first; the last window of a run may have fewer."""
    length = len(windows[0].faces)
    return list(takewhile(lambda window: len(window.faces) == length, windows))


class OverDevices:
    """A ``WindowGenerator`` that gives each batch to the next of several that is free, one for each device.

    It is called by several threads at once, as many as there are batches in flight; each of ``generators`` gets up to
    ``each`` of them.
    """

    def __init__(self, generators: Sequence[WindowGenerator], each: int) -> None:
        self.resolution = generators[0].resolution
        self._free: SimpleQueue[WindowGenerator] = SimpleQueue()
        for generator in [*generators] * each:
            self._free.put(generator)

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``; waits for a device."""
        generator = self._free.get()
        try:
            return generator(windows)
        finally:
            self._free.put(generator)


class SideBySide:
    """A ``WindowGenerator`` that shares the windows out among threads; ``generator`` is called by several at once.

    With fewer windows than ``threads`` (default: as many as torch uses), each window is computed by several threads.
    """

    def __init__(self, generator: WindowGenerator, threads: int | None = None) -> None:
        import torch  # here: what only knows the values of this module needs none of it, and it takes seconds

        self.resolution = generator.resolution
        self._generator = generator
        self._torch = torch
        self._threads = threads or torch.get_num_threads()
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by their numbers of workers, which share torch's threads

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``. The first failure is raised when all threads have ended."""
        count = min(len(windows), self._threads)
        if count == 1:
            return self._generator(windows)
        shares = [windows[k * len(windows) // count : (k + 1) * len(windows) // count] for k in range(count)]
        futures = [self._workers(count).submit(self._generator, share) for share in shares]
        wait(futures)
        self._torch.set_num_threads(self._threads)  # threads that start later take the number that was set last
        return np.concatenate([future.result() for future in futures])

    def _workers(self, count: int) -> ThreadPoolExecutor:
        if count not in self._pools:
            each = (self._threads // count,)  # of torch's threads, which a worker sets for itself
            limit = self._torch.set_num_threads
            self._pools[count] = ThreadPoolExecutor(count, "window", initializer=limit, initargs=each)
        return self._pools[count]

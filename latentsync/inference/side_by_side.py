"""On a processor: windows side by side, with the threads shared out among them.

A small network keeps two threads on one operation only half busy, because they wait for each other at its end; two
windows that go their own ways do not wait.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from latentsync.types import Window, WindowGenerator


class SideBySide:
    """A ``WindowGenerator`` that gives every thread some of the windows; ``generator`` is called by several at once.

    With fewer windows than ``threads`` (default: as many as torch uses) each computes on several of them.
    """

    def __init__(self, generator: WindowGenerator, threads: int | None = None) -> None:
        self.resolution = generator.resolution
        self._generator = generator
        self._threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="window")

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``. The first failure is raised when all threads have ended."""
        count = min(len(windows), self._threads)
        if count == 1:
            return self._generator(windows)
        shares = [windows[k * len(windows) // count : (k + 1) * len(windows) // count] for k in range(count)]
        futures = [self._pool.submit(self._compute, share, self._threads // count) for share in shares]
        failures = [failure for future in futures if (failure := future.exception()) is not None]
        torch.set_num_threads(self._threads)  # what threads that start later begin with
        if failures:
            raise failures[0]
        return np.concatenate([future.result() for future in futures])

    def _compute(self, windows: list[Window], threads: int) -> np.ndarray:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)  # of this thread
        return self._generator(windows)

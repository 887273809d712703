"""Memory of a server that stays: what a large job or a hostile file took goes back to the system when it is over."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from latentsync.runtime.memory import return_freed_memory

INTERVAL = 2.0  # s between two looks
NOTICED = 2**25  # bytes more than at the last look that was followed by a return


class FreedMemory:
    """Returns freed memory when ``is_idle``; while there is work it is kept, which is quicker."""

    def __init__(self, is_idle: Callable[[], bool]) -> None:
        self._is_idle = is_idle
        self._process = psutil.Process()
        self._least = self._resident()

    def look(self) -> None:
        """Return what can be returned, if the process has grown."""
        if self._resident() > self._least + NOTICED and self._is_idle():
            return_freed_memory()
            self._least = self._resident()
        else:
            self._least = min(self._least, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

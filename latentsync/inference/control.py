"""The link between a run and whoever started it: how far it is, and an end before its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from latentsync.errors import StoppedError

OnProgress = Callable[[str, int, int], None]  # stage, frames done, frames in all
OnPass = Callable[[int], None]  # windows that the network has just done one step of


class RunControl:
    """One run as seen from outside. All methods may be called from any thread.

    ``on_progress`` hears of every step of the network as of the frames that it is worth, and of every frame written;
    its numbers never fall within a stage, and no two calls overlap.
    """

    def __init__(self, on_progress: OnProgress = lambda stage, done, total: None) -> None:
        self._on_progress = on_progress
        self._stopped = threading.Event()
        self._lock = threading.RLock()  # the run is stopped from within ``on_progress`` as well
        self._stage = ""
        self._frames = self._passes = 1
        self._done = self._passed = 0

    def stop(self) -> None:
        """Ask the run to end; it does at the next frame or step of the network, and leaves nothing behind."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise ``StoppedError`` if the run was asked to end."""
        if self.stopped:
            raise StoppedError("Stopped; nothing was left behind.")

    def expect(self, frames: int, passes: int) -> None:
        """What the whole run will take: frames of the result, and steps of the network times windows."""
        self._frames, self._passes = max(1, frames), max(1, passes)

    def enter(self, stage: str) -> None:
        """The run waits for ``stage`` now. Raises as ``check``."""
        with self._lock:
            self._stage = stage
            self._report(self._done)

    def passed(self, windows: int) -> None:
        """The network has done one step of ``windows`` windows. Raises as ``check``."""
        with self._lock:
            self._passed += windows
            self._report(min(self._frames - 1, self._frames * self._passed // self._passes))

    def written(self, frames: int) -> None:
        """So many frames of the result are written. Raises as ``check``."""
        with self._lock:
            self._report(frames)

    def _report(self, done: int) -> None:
        self.check()
        self._done = max(self._done, done)
        self._on_progress(self._stage, self._done, self._frames)

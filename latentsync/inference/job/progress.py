"""A run as seen by whoever started it: how far it is, the time left, and how to stop it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from tqdm import tqdm

from latentsync.errors import StoppedError

OnProgress = Callable[[str, int, int], None]  # stage, frames done, frames in all


class RunControl:
    """The link between a run and whoever started it. All methods may be called from any thread.

    ``on_progress`` is called after every denoising step, which counts as a fraction of the frames of its windows, and
    for every frame written. Its numbers never fall within a stage, and no two calls overlap.
    """

    def __init__(self, on_progress: OnProgress = lambda stage, done, total: None) -> None:
        self._on_progress = on_progress
        self._stopped = threading.Event()
        self._lock = threading.RLock()  # the run is stopped from within ``on_progress`` as well
        self._stage = ""
        self._frames = self._steps = 1
        self._frames_done = self._steps_done = 0

    def stop(self) -> None:
        """Ask the run to end. It ends at the next frame or denoising step and leaves nothing behind."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise ``StoppedError`` if the run was asked to end."""
        if self.stopped:
            raise StoppedError("Stopped; nothing was left behind.")

    def expect(self, frames: int, steps: int) -> None:
        """What the whole run takes: frames of the result, and denoising steps of all windows."""
        self._frames, self._steps = max(1, frames), max(1, steps)

    def enter(self, stage: str) -> None:
        """The run is in ``stage`` now. Raises as ``check``."""
        with self._lock:
            self._stage = stage
            self._report(self._frames_done)

    def beat(self) -> None:
        """Work goes on of which nothing is counted, such as a look at the whole video: whoever started the run is told,
        and may have it end. Raises as ``check``."""
        with self._lock:
            self._report(self._frames_done)

    def step_done(self, windows: int) -> None:
        """One denoising step of ``windows`` windows is done. Raises as ``check``."""
        with self._lock:
            self._steps_done += windows
            self._report(min(self._frames - 1, self._frames * self._steps_done // self._steps))

    def written(self, frames: int) -> None:
        """``frames`` frames of the result are written. Raises as ``check``."""
        with self._lock:
            self._report(frames)

    def _report(self, done: int) -> None:
        self.check()
        self._frames_done = max(self._frames_done, done)
        self._on_progress(self._stage, self._frames_done, self._frames)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``done`` and ``total`` count frames; ``seconds_left`` is None until there is a rate."""

    stage: str = "starting"
    done: int = 0
    total: int = 0
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 0.0


class ProgressMeter:
    """Keeps the last report of a ``RunControl``, with the time left at the average rate of the stage."""

    def __init__(self) -> None:
        self.reading = Progress()
        self._since, self._from = time.monotonic(), 0

    def update(self, stage: str, done: int, total: int) -> None:
        """Take a report: work worth ``done`` of ``total`` frames is done, in ``stage``."""
        if stage != self.reading.stage:
            self._since, self._from = time.monotonic(), done
        gained = done - self._from
        left = (total - done) * (time.monotonic() - self._since) / gained if gained > 0 else None
        self.reading = Progress(stage, done, total, left)


class ProgressBar:
    """A terminal bar for ``RunControl``; prints nothing when ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None
        self._stage = ""

    def update(self, stage: str, done: int, total: int) -> None:
        """Show a report: work worth ``done`` of ``total`` frames is done, in ``stage``."""
        if self._quiet:
            return
        if self._bar is None:
            # Frames come out a window at a time, so only the average over the whole run says something of the rest.
            self._bar = tqdm(total=total, unit="frame", file=sys.stderr, dynamic_ncols=True, smoothing=0)
        begins = stage != self._stage
        if begins:
            self._stage = stage
            self._bar.unpause()  # the rate counts from here
        self._bar.set_description(stage, refresh=False)
        self._bar.total = max(total, done)
        self._bar.update(done - self._bar.n)
        if begins:
            self._bar.refresh()

    def write(self, text: str) -> None:
        """A line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

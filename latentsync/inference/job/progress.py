"""How far a run is: one bar, with the stage and the time left."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType

from tqdm import tqdm


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
    """Keeps the last of ``control.RunControl``'s reports, with the time left at the average rate of the stage."""

    def __init__(self) -> None:
        self.reading = Progress()
        self._since, self._from = time.monotonic(), 0

    def update(self, stage: str, done: int, total: int) -> None:
        """A report: ``done`` of ``total`` frames' worth of work, in ``stage``."""
        if stage != self.reading.stage:
            self._since, self._from = time.monotonic(), done
        gained = done - self._from
        left = (total - done) * (time.monotonic() - self._since) / gained if gained > 0 else None
        self.reading = Progress(stage, done, total, left)


class ProgressBar:
    """A terminal bar for ``control.RunControl``; silent when ``quiet`` or when nobody is watching."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None
        self._stage = ""

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` frames' worth of work are done, and what the run waits for."""
        if self._quiet:
            return
        if self._bar is None:
            # Frames come out in bursts of a window: only the average over the whole run foretells anything.
            self._bar = tqdm(total=total, unit="frame", file=sys.stderr, dynamic_ncols=True, smoothing=0)
        if stage != self._stage:
            self._stage = stage
            self._bar.unpause()  # the rate counts from here
        self._bar.set_description(stage, refresh=False)
        self._bar.total = max(total, done)
        self._bar.update(done - self._bar.n)
        if done == 0:
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

"""How far a run is: one bar, with the stage and the time left."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class ProgressBar:
    """A terminal bar for ``job.dub``'s callbacks; silent when ``quiet`` or when nobody is watching."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None
        self._stage = ""

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` frames are written and ``stage`` is what the run waits for."""
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

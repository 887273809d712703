"""One run at a time on an output folder, and none while workers of a killed run are still busy in it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from latentsync.errors import OutputError

_WAIT_SECONDS = 60.0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The only run on ``folder``. Raises ``OutputError`` if there is another, or its workers do not end."""
    with (folder / "run.lock").open("w") as run:
        _lock(run, 0.0, f"Another run is at work on {folder.parent}.")
        with (folder / "workers.lock").open("w") as workers:
            _lock(workers, _WAIT_SECONDS, f"Workers of an earlier run are still at work on {folder.parent}.")
        yield


def hold_as_worker(folder: Path) -> IO[str]:
    """Let later runs wait for this process; the lock lasts as long as the file that is returned is open."""
    stream = (folder / "workers.lock").open("w")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def _lock(stream: IO[str], seconds: float, message: str) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise OutputError(message, remedy="Wait for it, end it, or name another output_dir.") from error
            time.sleep(0.1)
        else:
            return

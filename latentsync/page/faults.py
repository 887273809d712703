"""What goes wrong, in one sentence for whoever called, and in as many lines of the log as it is worth."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from latentsync.atomic import is_disk_full
from latentsync.errors import DiskFullError, LatentSyncError, StoppedError
from latentsync.page import wording

SAME_FAULT_SECONDS = 600.0  # after which a fault that was logged is logged again, if it goes on
LONGEST_TRACEBACK = 6000  # characters, the last ones

logger = logging.getLogger(__name__)


class FaultLog:
    """Sentences for errors, and the log of them.

    A visitor's mistake is one line at level INFO. What whoever runs the page should know is a warning; a fault of the
    program is an error with its traceback. Of one kind and place each is logged once in ``seconds``, with the number of
    those in between, so that nobody can fill the log.
    """

    def __init__(self, seconds: float = SAME_FAULT_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def sentence(self, error: Exception, *paths: Path) -> str:
        """What a visitor is told, as plain text. ``paths``: files that it may be about."""
        if isinstance(error, StoppedError):
            return error.message
        if isinstance(error, OSError) and is_disk_full(error):
            error = DiskFullError("The disk of the server is full.", remedy="Make room.").with_traceback(
                error.__traceback__
            )
        if not isinstance(error, LatentSyncError):
            self._log_fault(error)
            return wording.FAULT
        line = wording.sentence(error, *paths)
        if not isinstance(error, wording.OF_THE_SERVER):
            logger.info("refused: %s", line)
        elif (left_out := self._due(error)) is not None:
            logger.warning("%s: %s%s", type(error).__name__, _one_line(str(error)), left_out)
        return line

    def note(self, what: str, error: Exception) -> None:
        """Log in one line that ``what`` ended in an error which is no fault of this program."""
        if (left_out := self._due(error)) is not None:
            logger.warning("%s: %s%s", _one_line(what), _one_line(repr(error)), left_out)

    def _log_fault(self, error: Exception) -> None:
        if (left_out := self._due(error)) is None:
            return
        lines = "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]
        text = "".join(c if c.isprintable() or c == "\n" else "?" for c in lines)
        logger.error("a fault of the program%s\n%s", left_out, text)

    def _due(self, error: Exception) -> str | None:
        """None if the like was logged a short time ago, else how many were left out since, in words."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        key = (type(error).__name__, place)
        with self._lock:
            now = self._clock()
            if key in self._logged and now - self._logged[key] < self._seconds:
                self._left_out[key] = self._left_out.get(key, 0) + 1
                return None
            self._logged[key] = now
            count = self._left_out.pop(key, 0)
        return f" (and {count} more like it before)" if count else ""


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

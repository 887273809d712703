"""How far a run has come and how long it will take, said now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.preprocess.clip_record import ManifestRow
from latentsync.preprocess.engine.layout import input_files
from latentsync.preprocess.engine.manifest import FileRecord

_INTERVAL = 10.0  # seconds between two lines
_ENOUGH_FILES = 20  # after which the time left can be estimated
_ENOUGH_SHARE = 0.05  # of the bytes, for runs of fewer files


def input_size(folder: Path) -> tuple[int, int]:
    """Number of files below ``folder``, and their bytes."""
    count = n_bytes = 0
    for name in input_files(folder):
        path = folder / name
        count += 1
        try:
            n_bytes += path.stat().st_size if path.is_file() else 0
        except OSError:  # step 1 says of this file why it cannot be read
            continue
    return count, n_bytes


@dataclass
class RunProgress:
    """``say`` is called with a line every ten seconds at most. The time left is estimated by the bytes of the input."""

    files: int
    n_bytes: int
    final_step: str
    say: Callable[[str], None]
    finished: int = 0
    final_clips: int = 0
    _bytes: int = 0
    _rows: int = 0
    _dropped: int = 0
    _started: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def row(self, row: ManifestRow) -> None:
        """A step on a clip is done."""
        self._rows += 1
        self._dropped += bool(row.reason)
        if row.step == self.final_step:
            self.final_clips += len(row.made)
        self._tell()

    def closed(self, record: FileRecord) -> None:
        """Nothing more is to be done for an input file."""
        self.finished += 1
        self._bytes += record.n_bytes
        self._tell()

    def time_left(self) -> float | None:
        """Seconds; None while it is too early to say."""
        share = self._bytes / self.n_bytes if self.n_bytes else 0.0
        if not share or (self.finished < _ENOUGH_FILES and share < _ENOUGH_SHARE):
            return None
        return (time.monotonic() - self._started) * (1 - share) / share

    def _tell(self) -> None:
        if time.monotonic() - self._said < _INTERVAL:
            return
        self._said = time.monotonic()
        left = self.time_left()
        self.say(
            f"{self.finished} of {self.files} files; {self._rows} steps on clips, {self._dropped} clips dropped, "
            f"{self.final_clips} finished" + (f"; about {_span(left)} left" if left is not None else "")
        )


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

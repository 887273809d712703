"""A folder for every job of every visitor: nobody can guess another's, and old ones are removed."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

CLEANING_INTERVAL = 600  # s


class VisitorFolders:
    """Folders under ``root``, which is this object's own. Jobs that are older than ``keep_seconds`` are removed."""

    def __init__(self, root: Path, keep_seconds: float) -> None:
        self._root = root
        self._keep_seconds = keep_seconds
        self._secret = secrets.token_bytes(16)
        self._closed = threading.Event()

    def new_job(self, visitor: str) -> Path:
        """An empty folder for one job. ``visitor`` comes from the browser and may be any text."""
        name = hashlib.blake2b(visitor.encode(errors="replace"), key=self._secret, digest_size=16).hexdigest()
        own = self._root / name
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="job_", dir=own))

    def discard(self, job: Path) -> None:
        """Remove a job that has come to nothing; the folder of its visitor goes with the next cleaning."""
        shutil.rmtree(job, ignore_errors=True)

    def clean(self) -> None:
        """Remove the jobs whose time is over, and the folders of visitors without jobs."""
        for own in self._root.glob("*"):
            for job in own.glob("job_*"):
                if time.time() - job.stat().st_mtime > self._keep_seconds:
                    shutil.rmtree(job, ignore_errors=True)  # a browser may be reading from it: next time, then
            if not any(own.iterdir()):
                try:
                    own.rmdir()
                except OSError:  # a job has just begun in it
                    continue

    def keep_clean(self) -> None:
        """Clean now and then, in a thread of its own, until ``close``."""

        def work() -> None:
            while not self._closed.wait(CLEANING_INTERVAL):
                self.clean()

        threading.Thread(target=work, name="cleaning", daemon=True).start()

    def close(self) -> None:
        """End the cleaning."""
        self._closed.set()

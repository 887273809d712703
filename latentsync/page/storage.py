"""How much visitors may send, and how much of the disk they may fill: each, all together, and what stays free."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import DiskFullError, LatentSyncError

LEAST_COUNTED = 2**18  # bytes that even an empty file counts as, so that their number has an end too
LOOK_SECONDS = 5.0  # that the sizes of files are believed for


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """Bytes: ``per_visitor`` of what one has uploaded, ``in_all`` of uploads and results, ``reserve`` of the disk that
    stays free."""

    per_visitor: int = 2 * 10**9
    in_all: int = 20 * 10**9
    reserve: int = 10**9


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """``seconds`` for a whole upload, ``idle_seconds`` between two pieces of it, and how many may run ``at_once``."""

    seconds: float = 3600.0
    idle_seconds: float = 30.0
    at_once: int = 64


class QuotaError(LatentSyncError):
    """A visitor has as much here as one may."""


class Upload:
    """One that is being received: how many bytes it has, and whose they are."""

    def __init__(self, visitor: str) -> None:
        self.visitor, self.bytes = visitor, 0


class Storage:
    """What lies below ``folder``. Uploads in progress are written to ``incoming``, which only they use."""

    def __init__(self, folder: Path, limits: StorageLimits) -> None:
        self.folder, self.incoming, self._limits = folder, folder / "incoming", limits
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._owners: dict[Path, str] = {}
        self._uploads: set[Upload] = set()
        self._looked = float("-inf")
        self._in_all = 0  # bytes when it was looked last
        self._kept: Counter[str] = Counter()  # the same by visitor, of uploads only

    def begin(self, visitor: str) -> Upload:
        """Account for an upload until ``end``. Raises as ``grow``."""
        upload = Upload(visitor)
        self.grow(upload, 0)
        with self._lock:
            self._uploads.add(upload)
        return upload

    def end(self, upload: Upload) -> None:
        """What has been received of it and was not kept is gone."""
        with self._lock:
            self._uploads.discard(upload)

    def grow(self, upload: Upload, count: int) -> None:
        """Account for ``count`` more bytes before they are written. Raises ``DiskFullError`` and ``QuotaError``."""
        self.require_room()
        with self._lock:
            upload.bytes += count
            coming = sum(other.bytes for other in self._uploads if other.visitor == upload.visitor)
            if self._kept[upload.visitor] + coming > self._limits.per_visitor:
                raise QuotaError(
                    f"Your files take more than {self._limits.per_visitor / 1e6:.0f} MB on this server.",
                    remedy="Come back when the older ones have been removed, or send smaller ones.",
                )

    def keep(self, upload: Upload, path: Path, size: int) -> None:
        """Count a file that has been received for the visitor for as long as it lies at ``path``."""
        with self._lock:
            upload.bytes -= size
            self._owners[path] = upload.visitor
            self._in_all += max(size, LEAST_COUNTED)
            self._kept[upload.visitor] += max(size, LEAST_COUNTED)

    def require_room(self) -> None:
        """Raise ``DiskFullError`` if visitors have filled their part of the disk, or anybody the rest of it."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._look()
            used = self._in_all + sum(upload.bytes for upload in self._uploads)
        if used > self._limits.in_all or shutil.disk_usage(self.folder).free < self._limits.reserve:
            raise no_room()

    def _look(self) -> None:
        """Learn the sizes of all files, and forget those that are gone."""
        sizes = dict(self._measure())
        self._owners = {path: owner for path, owner in self._owners.items() if path in sizes}
        self._in_all, self._kept = sum(sizes.values()), Counter()
        for path, owner in self._owners.items():
            self._kept[owner] += sizes[path]
        self._looked = time.monotonic()

    def _measure(self) -> Iterator[tuple[Path, int]]:
        for folder, folders, names in os.walk(self.folder):
            if Path(folder) == self.folder and self.incoming.name in folders:
                folders.remove(self.incoming.name)
            for name in names:
                path = Path(folder, name)
                try:
                    yield path, max(path.lstat().st_size, LEAST_COUNTED)
                except FileNotFoundError:  # removed meanwhile
                    continue


def no_room() -> DiskFullError:
    """As a visitor may read it."""
    return DiskFullError(
        "There is no room for more files on this server at the moment.",
        remedy="Free some space, or start the page with other limits (--total_gb, --reserve_gb).",
    )

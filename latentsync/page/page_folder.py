"""The one folder of a running page: locked while its owner lives, removed by the next page if its owner was killed."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "latentsync_page_"
LOCK = ".lock"  # of the lock's name, beside the folder
logger = logging.getLogger(__name__)


@contextmanager
def page_folder() -> Iterator[Path]:
    """A new folder that only this user can enter; it is removed with all that is in it when the block is left.

    Everything of visitors lies in it. Folders whose owners ended without removing them are removed first: the lock of
    one is free as soon as its owner is dead, however it died.
    """
    sweep()
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(8)}"
    lock = folder.with_suffix(LOCK)
    try:
        with FileLock(lock, mode=0o600):  # taken before the folder is there, so that nobody finds it unlocked
            try:
                folder.mkdir(mode=0o700)
                yield folder
            finally:
                _remove(folder)
    finally:
        _remove_lock(lock)


def sweep() -> None:
    """Remove the folders of this user whose owners are dead."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{LOCK}"):
        with suppress(Timeout, OSError):  # its owner lives, or removes it just now
            if not _is_ours(lock):
                continue
            with FileLock(lock, mode=0o600, blocking=False):
                folder = lock.with_suffix("")
                if folder.exists() and _is_ours(folder):
                    logger.warning("Removing %s, which a page left that was killed.", folder)
                    _remove(folder)
            _remove_lock(lock)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now is left to the next start


def _remove_lock(lock: Path) -> None:
    if not lock.with_suffix("").exists():
        lock.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    """Whether this user made it: others may put things into a shared folder for temporary files."""
    return not path.is_symlink() and (not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid())

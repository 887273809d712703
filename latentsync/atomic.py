"""Files and folders that appear whole or not at all, also when several processes write the same one.

Everything is written under a hidden name beside its target and renamed when it is complete. What a process leaves that
is killed meanwhile is removed when the next process writes to that folder: beside every unfinished file lies a lock,
which the operating system frees with its holder. So neither age nor a process number decides, and what another process
still writes is never touched.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_NAME_KEPT = 30  # characters of the name that the unfinished file shows; the rest would not fit beside long names
_LOCK = ".lock"  # of the lock's name, after that of the unfinished file
_LOCK_SECONDS = 5.0  # a lock that nobody knows of yet is held by a sweep at most, for an instant
_UNFINISHED = re.compile(r"\..{1,30}\.[0-9a-f]{32}\.part\.lock", re.DOTALL)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, the largest file that the disk can hold
_NO_HARD_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)


@contextmanager
def atomic_file(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty file beside ``target`` to write to; it takes the target's place when the block ends without an error.

    ``durable``: its bytes reach the disk before its name does, so that a power cut cannot leave half of it. Its
    permissions are those of any new file, also if a library puts a private one of its own there. The folder is made
    if it is missing. Raises ``OSError`` where nothing can be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    with _locked_name(target) as temporary:
        try:
            temporary.touch(exist_ok=False)
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            if durable:
                flush(temporary)
            temporary.chmod(mode)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str, *, errors: str = "strict", durable: bool = False) -> None:
    """``atomic_file`` of a text in UTF-8; ``errors`` as in ``str.encode``, for names of files that may be any bytes."""
    with atomic_file(target, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def link_or_copy(given: Path, target: Path) -> None:
    """Let ``target`` be the file ``given`` as well: a hard link, or a copy where the disk does not allow one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden(target)
    try:
        os.link(given, temporary)
        temporary.replace(target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        logger.warning("%s is copied, not linked: %s.", target.parent, error.strerror)
        with atomic_file(target, durable=True) as copy:
            shutil.copyfile(given, copy)
    finally:
        temporary.unlink(missing_ok=True)  # still there if the target was that file already


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder, ``unfinished(target)``, which takes the target's place when the block ends without an error.

    Its files reach the disk before its name does. Other processes may write into it while the block lasts; what one
    that was killed has left under that name is thrown away.
    """
    partial = unfinished(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in (*partial.rglob("*"), partial):
            flush(path)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unfinished(folder: Path) -> Path:
    """Where ``atomic_folder`` prepares ``folder``."""
    return folder.with_name(folder.name + ".partial")


def is_disk_full(error: OSError) -> bool:
    """Whether something could not be written because there was no room for it."""
    return error.errno in _NO_ROOM


def flush(path: Path) -> None:
    """Force a file's bytes or a folder's names to the disk; Windows, which opens no folders, sees to the names."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hidden(target: Path) -> Path:
    return target.with_name(f".{target.name[:_NAME_KEPT]}.{uuid4().hex}.part")


@contextmanager
def _locked_name(target: Path) -> Iterator[Path]:
    """``_hidden(target)``; its lock is held while the block lasts, unless the disk knows no locks."""
    name = _hidden(target)
    path = name.with_name(name.name + _LOCK)
    lock = _hold(path)
    try:
        yield name
    finally:
        lock.release()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _hold(path: Path) -> FileLock:
    """The new lock ``path``. It is not held where there are no locks, and then not there: nobody sweeps."""
    lock = FileLock(path, thread_local=False)
    try:
        path.touch()
        while not _acquire(lock, path, _LOCK_SECONDS):
            path.touch()
    except (Timeout, OSError, NotImplementedError):
        path.unlink(missing_ok=True)
    return lock


def try_hold(path: Path) -> FileLock | None:
    """The lock ``path``, held, for what lasts; None if another process holds it, or the disk knows no locks."""
    lock = FileLock(path, thread_local=False)
    try:
        path.touch()
        while not _acquire(lock, path, 0):
            path.touch()
    except (Timeout, OSError, NotImplementedError):
        return None
    return lock


def _acquire(lock: FileLock, path: Path, seconds: float) -> bool:
    """Hold the ``lock``, whose file is ``path``; False if the file was removed or replaced before it was held."""
    with suppress(FileNotFoundError):
        found = path.stat()
        lock.acquire(timeout=seconds)
        if os.path.samestat(path.stat(), found):
            return True
    lock.release()
    return False


def sweep(folder: Path) -> None:
    """Remove the unfinished files in ``folder`` whose writers are dead."""
    with suppress(OSError), os.scandir(folder) as entries:
        for path in [Path(entry.path) for entry in entries if _UNFINISHED.fullmatch(entry.name)]:
            lock = FileLock(path, thread_local=False)
            with suppress(Timeout, OSError, NotImplementedError):
                while path.exists():  # to lock one that its writer has just removed makes it anew
                    if not _acquire(lock, path, 0):
                        continue
                    with suppress(FileNotFoundError):
                        path.with_suffix("").unlink()
                        logger.info("%s is removed: the process that wrote it was killed.", path.with_suffix(""))
                    path.unlink()
            lock.release()


_swept: set[Path] = set()


def _sweep_once(folder: Path) -> None:
    """``sweep``, at the first write of this process to ``folder``: a large one is not looked through at every write."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)

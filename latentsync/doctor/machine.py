"""Memory, disks and /dev/shm."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from latentsync.doctor.finding import Finding, Grade
from latentsync.places import WEIGHTS, cache_folder
from latentsync.runtime.shared_memory import SHARED_MEMORY, free_shared_memory

GIB = 2**30
LEAST_MEMORY = 3 * GIB  # of a dub with the built-in models
PUBLISHED_MEMORY = 12 * GIB  # of one with published weights on the CPU: 5.5 GB of them, and what is computed
LEAST_DISK = 2 * GIB  # of results, detected faces, uploads
LEAST_SHARED = GIB
_CONTAINER = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def check_memory() -> Iterator[Finding]:
    """What a run could take now, in this container."""
    available = _available_memory()
    text = f"{available / GIB:.1f} GiB are available."
    if available < LEAST_MEMORY:
        remedy = "Close other programs (`ps -eo rss,pid,args --sort=-rss | head` names the largest)."
        yield Finding("memory", Grade.FAULT, f"{text} A run needs {LEAST_MEMORY / GIB:.0f}.", remedy)
    elif available < PUBLISHED_MEMORY:
        more = f"Without a GPU the published weights need about {PUBLISHED_MEMORY / GIB:.0f}."
        yield Finding("memory", Grade.LIMIT, f"{text} {more}")
    else:
        yield Finding("memory", Grade.GOOD, text)


def check_disk() -> Iterator[Finding]:
    """Room, and the right to write, where files are put without being asked for."""
    faults = [
        *_faults_of(WEIGHTS, "the weights", f"df -h {WEIGHTS}"),
        *_faults_of(_temporary_folder(), "temporary files", "export TMPDIR=FOLDER_ON_ANOTHER_DISK"),
        *_faults_of(cache_folder(), "detected faces", "export LATENTSYNC_CACHE=FOLDER_ON_ANOTHER_DISK"),
    ]
    yield from faults
    if not faults:
        yield Finding("disk", Grade.GOOD, "there is room for weights, temporary files and detected faces.")


def check_shared_memory() -> Iterator[Finding]:
    """Loader workers of a training, and Ray, hand arrays over through /dev/shm."""
    free = free_shared_memory()
    if free is None:
        return
    text = f"{free / 2**20:.0f} MiB are free in {SHARED_MEMORY}"
    if free < LEAST_SHARED:
        remedy = f"Run `mount -o remount,size=4g {SHARED_MEMORY}` as root, or start the container with --shm-size=4g."
        yield Finding("shared memory", Grade.LIMIT, f"{text}: training loads clips without workers, so slowly.", remedy)
    else:
        yield Finding("shared memory", Grade.GOOD, f"{text}.")


def _available_memory() -> int:
    """Bytes that this process may still take; a container may be allowed less than the machine has."""
    import psutil  # here, for the doctor has to start where packages are missing

    available = int(psutil.virtual_memory().available)
    try:
        limit, used = (path.read_text().strip() for path in _CONTAINER)
    except OSError:  # no container of this kind
        return available
    return available if limit == "max" else min(available, int(limit) - int(used))


def _temporary_folder() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _faults_of(folder: Path | None, use: str, command: str) -> Iterator[Finding]:
    if folder is None:
        yield Finding("disk", Grade.FAULT, f"No folder for {use} can be written.", f"Run `{command}`.")
        return
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Finding("disk", Grade.FAULT, f"{folder}, for {use}, cannot be written.", f"Run `{command}`.")
    elif (free := shutil.disk_usage(folder).free) < LEAST_DISK:
        text = f"{folder}, for {use}, has {free / GIB:.1f} GiB free of the {LEAST_DISK / GIB:.0f} that it should."
        yield Finding("disk", Grade.FAULT, text, f"Make room, or run `{command}`.")

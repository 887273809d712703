"""Room in /dev/shm, through which processes that load training clips hand over what they have loaded.

Whoever writes into a full one is ended by the system (SIGBUS). Containers have 64 MiB of it unless told otherwise.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
PLENTY = 8 * 2**30  # bytes with which nobody has to count
BATCHES_PER_WORKER = 3  # two that torch's DataLoader has under way for each, and what is in use
_warned: set[tuple[int, int]] = set()  # (workers wanted, workers that fit) of which the log has a line


def free_shared_memory() -> int | None:
    """Bytes; None where the system has none that a program could fill (macOS, Windows)."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def workers_that_fit(wanted: int, load_one: Callable[[], object], batch_size: int) -> int:
    """``wanted`` loader workers, or as many as have room for their batches, with a line in the log that says so.

    0: this process loads everything itself. ``load_one`` loads a batch of one; it is called where room is short only.
    """
    free = free_shared_memory()
    if wanted == 0 or free is None or free >= PLENTY:
        return wanted
    batch = len(pickle.dumps(load_one())) * batch_size
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's: of this training, on this machine
    fitting = min(wanted, free // processes // (batch * BATCHES_PER_WORKER))
    if fitting < wanted and (wanted, fitting) not in _warned:  # a training asks before every validation
        _warned.add((wanted, fitting))
        _warn(wanted, fitting, batch, free)
    return fitting


def _warn(wanted: int, fitting: int, batch: int, free: int) -> None:
    logger.warning(
        "%s has %d MiB free, too little for batches of %.1f MiB from %d loader workers: %s. "
        "More room: `mount -o remount,size=4g %s` as root, or docker run --shm-size=4g.",
        *(SHARED_MEMORY, free >> 20, batch / 2**20, wanted),
        *(f"{fitting} do it" if fitting else "this process loads them itself", SHARED_MEMORY),
    )

"""Room in /dev/shm, through which processes that load training clips hand them over."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
BATCHES_PER_WORKER = 2  # that torch's DataLoader has under way


def free_shared_memory() -> int | None:
    """Bytes; None where the system has none that a program could fill (macOS, Windows)."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def workers_that_fit(wanted: int, batch_bytes: int) -> int:
    """``wanted`` loader workers, or fewer if their batches of ``batch_bytes`` would fill /dev/shm, and a line that says
    so: whoever writes into a full one is ended by the system (SIGBUS). 0: this process loads the clips itself."""
    free = free_shared_memory()
    if free is None or wanted == 0:
        return wanted
    fitting = min(wanted, free // (batch_bytes * (BATCHES_PER_WORKER + 1)))  # one more: that which is being used
    if fitting < wanted:
        logger.warning(
            "%s has %d MiB free, batches of %d MiB for %d workers need more: %d load the clips. "
            "`mount -o remount,size=4g %s` (or docker run --shm-size=4g) makes room.",
            *(SHARED_MEMORY, free >> 20, batch_bytes >> 20, wanted, fitting, SHARED_MEMORY),
        )
    return fitting

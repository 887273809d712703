"""Memory of the process: the C library's heap, what is done when memory runs out on the host or on an
accelerator, and how much there is.

Whatever goes on after memory ran out does the same: recognise it, free what nobody uses, try again with half as much,
and name what cannot be made smaller (``errors.OutOfMemoryError``). Importing this module loads no torch.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import platform
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import psutil

from latentsync import errors

if TYPE_CHECKING:
    import torch

# mallopt's numbers, malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
_MOST_MALLOPT = 2**31 - 1  # that mallopt takes

R = TypeVar("R")
S = TypeVar("S", bound=Sized)

GIB = 2**30
REMEDY = "Close other programs that use this device, or name another one, such as --device cpu."

# What libraries write into errors of a general kind (RuntimeError, torch.AcceleratorError, cv2.error) if they get no
# memory: torch's allocators (CUDA, HIP, XPU, MPS, CPU); cuBLAS, cuDNN, cuSOLVER and their HIP counterparts, whose
# status names all end alike; cuDNN's search for an algorithm, which passes over those whose work space does not fit;
# OpenCV.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "allocation_failed",
    "statusallocfailed",
    "unable to find a valid cudnn algorithm",
    "insufficient memory",
    "bad_alloc",
)


def keep_freed_memory() -> None:
    """Let this process hold on to what it frees, in one heap; does nothing where the C library is not glibc.

    A training step on the CPU frees large arrays and asks for equal ones again, and so do frames on their way through a
    pipeline. By default they go back to the system and come anew, page by page: a tenth of the time of a small
    network's step and of a frame at 1080p. One heap, because by default every thread has its own, and frames that one
    thread made and another dropped are kept for the first: about 150 MB at 1080p. For a program to call at its start; a
    library must not. What is held is given back by ``return_freed_memory``.
    """
    _mallopt(M_MMAP_THRESHOLD, _MOST_MALLOPT)
    _mallopt(M_TRIM_THRESHOLD, _MOST_MALLOPT)
    _mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give what is freed back to the system, whatever ``keep_freed_memory`` said; for when a large work is over.

    Whole pages go back from the middle of the heap too (malloc_trim(3)). Does nothing where the C library is not glibc.
    """
    gc.collect()  # arrays that only a cycle holds, such as an exception and the frames of its traceback
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt(parameter: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from (``__cause__``), says that memory ran out: that of the host, of a
    GPU, or a work space of its libraries."""
    link: BaseException | None = error
    while link is not None:
        if _says_out_of_memory(link):
            return True
        link = link.__cause__
    return False


def release_memory() -> None:
    """Give back what nobody uses any more: cycles of Python, torch's cached blocks on every accelerator, the heap.

    To be called after the ``except`` block of the failure has ended: its traceback holds the tensors of all the calls
    that were going on. Tensors that are in use stay.
    """
    return_freed_memory()
    torch = sys.modules.get("torch")  # what has not been imported holds nothing
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.xpu.is_available():
        torch.xpu.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_bytes(device: torch.device) -> int | None:
    """What this process may still take on ``device``, with what torch holds there unused; None if nobody knows."""
    import torch

    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return None


@contextmanager
def naming_lack_of_memory(task: str, remedy: str = REMEDY) -> Iterator[None]:
    """Raise ``OutOfMemoryError`` if memory runs out in the block. ``task`` completes "not enough memory for".

    The error does not hold what the failed calls had in memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, errors.OutOfMemoryError) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        cause = str(error).partition("\n")[0][:300] or type(error).__name__
        raise errors.OutOfMemoryError(f"There is not enough memory for {task}: {cause}", remedy=remedy) from error


def with_memory_freed(function: Callable[[], R], task: str, remedy: str = REMEDY) -> R:
    """``function()``, and once more with freed memory if it ran out; for what cannot be done in portions.

    Raises ``OutOfMemoryError`` as ``naming_lack_of_memory`` if that does not help.
    """
    try:
        return function()
    except Exception as error:
        if isinstance(error, errors.OutOfMemoryError) or not is_out_of_memory(error):
            raise
    release_memory()
    with naming_lack_of_memory(task, remedy):
        return function()


class Portions:
    """How many items are worked on at once: half as many when memory runs out, and no more from then on.

    ``limit`` is the number now; ``reductions`` lists the numbers that did not fit. ``task`` and ``remedy`` are for the
    error when a single item does not fit: see ``naming_lack_of_memory``. Several threads may use it at once.
    """

    def __init__(self, limit: int, task: str, remedy: str = REMEDY) -> None:
        if limit < 1:
            raise ValueError(f"a portion has at least one item, not {limit}")
        self.limit = limit
        self.reductions: list[int] = []
        self._task, self._remedy = task, remedy
        self._lock = threading.Lock()

    def attempt(self, function: Callable[[S], R], portion: S) -> R | None:
        """``function(portion)``, or None if that needs too much memory: ``limit`` is smaller then.

        Raises ``OutOfMemoryError`` if the portion is a single item, or from further inside as it is.
        """
        if len(portion) == 1:
            return with_memory_freed(lambda: function(portion), self._task, self._remedy)
        try:
            return function(portion)
        except Exception as error:
            if isinstance(error, errors.OutOfMemoryError) or not is_out_of_memory(error):
                raise
        self._reduce_below(len(portion))
        release_memory()
        return None

    def _reduce_below(self, count: int) -> None:
        """So many items did not fit; another thread may have met the same limit a moment before."""
        with self._lock:
            if count <= self.limit:
                self.reductions.append(count)
                self.limit = count // 2


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # ours, torch's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, errors.LatentSyncError) or not isinstance(error, Exception):
        return False  # a sentence for people may name memory for another reason
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS)

"""The C library's heap, for a process that makes and drops large arrays all the time."""

from __future__ import annotations

import ctypes
import gc
import platform

# mallopt's numbers, malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
_MOST = 2**31 - 1  # that mallopt takes


def keep_freed_memory() -> None:
    """Let this process hold on to what it frees, in one heap; does nothing where the C library is not glibc.

    A training step on the CPU frees large arrays and asks for equal ones again, and so do frames on their way through a
    pipeline. By default they go back to the system and come anew, page by page: a tenth of the time of a small
    network's step and of a frame at 1080p. One heap, because by default every thread has its own, and frames that one
    thread made and another dropped are kept for the first: about 150 MB at 1080p. For a program to call at its start; a
    library must not. What is held is given back by ``return_freed_memory``.
    """
    _set(M_MMAP_THRESHOLD, _MOST)
    _set(M_TRIM_THRESHOLD, _MOST)
    _set(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give what is freed back to the system, whatever ``keep_freed_memory`` said; for when a large work is over.

    Whole pages go back from the middle of the heap too (malloc_trim(3)). Does nothing where the C library is not glibc.
    """
    gc.collect()  # arrays that only a cycle holds, such as an exception and the frames of its traceback
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _set(parameter: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)

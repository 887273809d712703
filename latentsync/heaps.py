"""The C library's heaps, for a process whose threads hand large arrays to each other."""

from __future__ import annotations

import ctypes
import platform

# mallopt's numbers, malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
_MOST = 2**31 - 1  # that mallopt takes


def share_heaps(count: int = 2) -> None:
    """Let all threads of this process share ``count`` heaps; does nothing where the C library is not glibc.

    By default every thread has its own, and frames that one thread made and another dropped are kept for the first:
    about 150 MB at 1080p. For a program to call at its start; a library must not.
    """
    _set(M_ARENA_MAX, count)


def keep_freed_memory() -> None:
    """Let this process hold on to what it frees; does nothing where the C library is not glibc.

    A training step on the CPU frees large arrays and asks for equal ones again. By default they go back to the system
    and come anew, page by page: a tenth of the time of a small network's step. For a program to call at its start.
    """
    _set(M_MMAP_THRESHOLD, _MOST)
    _set(M_TRIM_THRESHOLD, _MOST)
    _set(M_ARENA_MAX, 1)


def _set(parameter: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)

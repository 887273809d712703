"""The C library's heap, for a process that makes and drops large arrays all the time."""

from __future__ import annotations

import ctypes
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
    library must not.
    """
    _set(M_MMAP_THRESHOLD, _MOST)
    _set(M_TRIM_THRESHOLD, _MOST)
    _set(M_ARENA_MAX, 1)


def _set(parameter: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)

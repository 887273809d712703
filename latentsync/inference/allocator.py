"""The C library's heaps, for a process whose threads hand large arrays to each other."""

from __future__ import annotations

import ctypes
import platform

M_ARENA_MAX = -8  # mallopt's number, malloc.h of glibc


def share_heaps(count: int = 2) -> None:
    """Let all threads of this process share ``count`` heaps; does nothing where the C library is not glibc.

    By default every thread has its own, and frames that one thread made and another dropped are kept for the first:
    about 150 MB at 1080p. For a program to call at its start; a library must not.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, count)

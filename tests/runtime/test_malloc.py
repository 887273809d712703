"""Memory that the C library holds, and gives back when it is told to."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import psutil
from latentsync.runtime.malloc import keep_freed_memory, return_freed_memory
def megabytes():
    return psutil.Process().memory_info().rss / 2**20
keep_freed_memory()
before = megabytes()
class Cycle:
    pass
pieces = [bytearray(2**20) for _ in range(200)]
last, cycle = bytearray(10), Cycle()  # something stays at the end of the heap
cycle.itself, cycle.pieces = cycle, pieces
del pieces, cycle
held = megabytes()
return_freed_memory()
print(held - before, megabytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc")
def test_what_is_held_is_given_back():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=True)
    held, left = map(float, done.stdout.split())
    assert held > 190 and left < 20

"""Peak resident size of a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# `ru_maxrss` survives exec, so a child would report what its parent had used before it; VmHWM is the program's own.
_REPORT = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"


def peak_megabytes(code: str) -> float:
    """Run Python ``code`` in a process of its own and return its peak resident size."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", f"{code}\n{_REPORT}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024

"""Runs the pipeline on the drawn world again and again, killed at random moments, and at last undisturbed.

python -m tests.preprocess.kill_runs RAW OUTPUT KILLS LONGEST_SECONDS
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from latentsync.preprocess.engine.runner import preprocess
from tests.preprocess.world import DrawnNetworks, small_settings


def main(raw: str, output: str, kills: str, longest: str) -> None:
    moments = random.Random(7)
    for _ in range(int(kills)):
        child = os.fork()  # this process has a single thread, and every child of it starts without loading anything
        if child == 0:
            preprocess(small_settings(Path(raw), Path(output)), DrawnNetworks)
            os._exit(0)
        time.sleep(moments.uniform(0, float(longest)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    preprocess(small_settings(Path(raw), Path(output)), DrawnNetworks)


if __name__ == "__main__":
    main(*sys.argv[1:])

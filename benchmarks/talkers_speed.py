"""How fast talkers are drawn on one core, audio included: ``python benchmarks/talkers_speed.py --size 256``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from latentsync.data.talkers.clip import make_talker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clips", type=int, default=20)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rates = []
    for seed in range(-1, arguments.clips):  # the first one warms up
        wall, processor = time.perf_counter(), time.process_time()
        clip = make_talker(max(seed, 0), seed + 1, seed + 2, seconds=arguments.seconds, size=arguments.size)
        count = sum(1 for _ in clip.frames())
        if seed >= 0:
            rates.append((count / (time.perf_counter() - wall), count / (time.process_time() - processor)))
    wall, processor = np.array(rates).T
    print(
        json.dumps({
            "frames_per_second_wall": {"median": float(np.median(wall)), "slowest_clip": float(wall.min())},
            "frames_per_second_of_processor_time": {
                "median": float(np.median(processor)), "slowest_clip": float(processor.min()),
            },
            "load_average": os.getloadavg()[0],
        }, indent=1)
    )  # fmt: skip


if __name__ == "__main__":
    main()

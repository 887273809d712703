"""Processor time and memory of an evaluation, clip by clip, in one process with one thread.

    python -m benchmarks.evaluation_set --out SET --clips 10 --seconds 5
    python -m benchmarks.evaluation_speed --set SET --auxiliary checkpoints/auxiliary

Prints one line of JSON: seconds of processor time per clip, by two workers' share the minutes that 100 clips take, and
the resident memory after the third and after the last clip. Nothing that was detected is taken from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import psutil

from latentsync.evaluation.clip import score_clip
from latentsync.evaluation.networks import load_networks
from latentsync.evaluation.recordings import find_pairs
from latentsync.evaluation.settings import EvaluationSettings, EvaluationWeights
from latentsync.media.threads import single_threaded
from latentsync.places import BUILTIN_SYNCNET

CLIPS, WORKERS = 100, 2  # of the time that is extrapolated to


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="folder with results/ and truth/")
    parser.add_argument("--auxiliary", type=Path, required=True, help="folder of a face detector's weights")
    options = parser.parse_args()
    settings = EvaluationSettings()
    weights = EvaluationWeights(options.auxiliary, BUILTIN_SYNCNET)
    networks = load_networks(settings, weights)
    seconds, resident = [], []
    with tempfile.TemporaryDirectory() as folder, single_threaded():
        os.environ["LATENTSYNC_CACHE"] = folder
        for files in find_pairs(options.set / "results", options.set / "truth", None):
            start = time.process_time()
            score_clip(files, networks, settings, Path(folder) / "stills.png")
            seconds.append(time.process_time() - start)
            resident.append(psutil.Process().memory_info().rss >> 20)
    mean = sum(seconds) / len(seconds)
    print(
        json.dumps(
            {
                "clips": len(seconds),
                "processor_seconds_per_clip": round(mean, 2),
                f"minutes_for_{CLIPS}_clips_by_{WORKERS}_workers": round(mean * CLIPS / WORKERS / 60, 1),
                "mib_after_third_clip": resident[min(2, len(resident) - 1)],
                "mib_after_last_clip": resident[-1],
            }
        )
    )


if __name__ == "__main__":
    main()

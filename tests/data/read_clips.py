"""Reads training clips in a process of its own: python -m tests.data.read_clips FILE [FILE ...]

Each gives a line of JSON: why it cannot be read ("" if it can), and megabytes of memory above the start, at most.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

from latentsync.data.clip_reader import read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from tests.media.hostile.reader import forget_peak, memory


def main(*files: str) -> None:
    start = memory("VmRSS")
    for name in files:
        forget_peak()
        reason = ""
        try:
            read_clip_frames(Clip(Path(name), "00", 25, Fraction(25), 256, 256, 1.0), 0, 3)
        except DataError as error:
            reason = error.message
        print(json.dumps({"file": name, "reason": reason, "peak": memory("VmHWM") - start}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

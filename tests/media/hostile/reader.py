"""Reads hostile files in a process of its own: python -m tests.media.hostile.reader WAY KIND FILE [KIND FILE ...]

WAY is "stranger" (as the page reads them), "own" (as the command line does) or "pipeline". Each gives a line
of JSON: outcome, and megabytes of memory above the start, at most and afterwards.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from itertools import islice
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.media.audio import audio_blocks, audio_start, read_audio
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.video import VideoFile
from tests.media.hostile import AUDIO

FRAMES = 60  # that are looked at; enough for all of the bombs


def read(path: Path, kind: str, way: str) -> None:
    """Raises a named error, or not."""
    limits = MediaLimits() if way == "stranger" else GENEROUS
    if kind != AUDIO:
        if way != "own":
            limits.check_video(path)
        video = VideoFile(path, limits=limits)
        for frame in islice(video.frames(), FRAMES):
            assert frame.pixels.shape == frame.shape
    else:
        if way != "own":
            limits.check_audio(path)
        audio_start(path)
        if way == "pipeline":
            assert sum(len(block) for block in audio_blocks(path, limits=limits))
        else:
            assert len(read_audio(path, limits=limits))


def memory(field: str) -> float:
    """Megabytes of this process: "VmRSS" now, "VmHWM" at most since ``forget_peak``."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(way: str, *files: str) -> None:
    start = memory("VmRSS")
    for kind, name in zip(files[::2], files[1::2], strict=True):
        forget_peak()
        began, outcome = time.perf_counter(), "read"
        print(json.dumps({"begun": name}), flush=True)
        try:
            read(Path(name), kind, way)
        except LatentSyncError as error:
            outcome = f"{type(error).__name__}: {error.message}"
        except Exception as error:  # noqa: BLE001  what is looked for
            outcome = f"UNNAMED {error!r}"
        seconds, peak = time.perf_counter() - began, memory("VmHWM") - start
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        after = memory("VmRSS") - start
        print(
            json.dumps({"file": name, "outcome": outcome, "peak": peak, "after": after, "seconds": seconds}), flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

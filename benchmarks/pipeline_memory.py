"""Peak memory of a long dub against a short one: python -m benchmarks.pipeline_memory

Runs the whole path from file to file (decode, track, align, paste, encode, mux) with a generator that returns its
crops, each length in a process of its own, and prints one JSON line with the peak resident sizes in MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np


def run_one(folder: Path, seconds: int, width: int, height: int) -> dict[str, float]:
    """Dub ``seconds`` of a drawn video; the peak of this process and the frames per second."""
    from latentsync.face.mask import load_mask
    from latentsync.face.tracks import FaceTracks
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.pipeline import LipsyncPipeline
    from latentsync.media.audio import read_audio
    from latentsync.media.video import VideoFile
    from latentsync.media.writer import EncodingOptions, write_video
    from tests.inference.world import ClockAudio, DrawnVideo, Identity, KnownFaces

    source = folder / f"source_{seconds}.mp4"
    sound = folder / f"sound_{seconds}.wav"
    drawn = DrawnVideo(seconds * 25, width, height, face=height / 4)
    fast = EncodingOptions(codec="h264", preset="ultrafast", crf=23)
    write_video(source, drawn.frames(), drawn.info, fast, audio=None)
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.random.default_rng(0).standard_normal(seconds * 16000) * 3000).astype("<i2").tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    video = VideoFile(source)
    pipeline = LipsyncPipeline(
        lambda options: Identity(), lambda waveform, options: ClockAudio(Fraction(seconds)), load_mask("mask", 256)
    )
    options = SyncOptions(check_output=False)
    start = time.perf_counter()
    frames = pipeline.sync(video, read_audio(sound), options, FaceTracks(KnownFaces(drawn)))
    write_video(folder / f"result_{seconds}.mp4", frames, video.info, fast, audio=sound)
    elapsed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mb": peak / 1024, "before_mb": before / 1024, "fps": seconds * 25 / elapsed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600])
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    if arguments.child:
        print(json.dumps(run_one(arguments.folder, arguments.child, width, height)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in arguments.seconds:
            command = [sys.executable, "-m", "benchmarks.pipeline_memory", "--child", str(seconds), "--folder", folder]
            done = subprocess.run([*command, "--size", arguments.size], check=True, capture_output=True, text=True)
            results[f"{seconds}s"] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"benchmark": "pipeline_memory", "size": arguments.size, **results}))


if __name__ == "__main__":
    main()

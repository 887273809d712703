"""Peak memory of a long dub against a short one.

    python -m benchmarks.pipeline_memory
    python -m benchmarks.pipeline_memory --people 3 --seconds 10 60

Runs the whole path from file to file (decode, track, align, paste, encode, mux) with a generator that returns its
crops, each length in a process of its own, and prints one JSON line with the peak resident sizes in MB. With
``--people``, so many stand side by side, and all of them are dubbed the whole time, in turns of 5 s with audio each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from benchmarks.report import peak_rss

TURN = 5  # seconds of a segment of a scene


def drawn_people(seconds: int, width: int, height: int, people: int):
    """A drawn video of that length with ``people`` side by side, and what knows where their faces are."""
    from tests.inference.world import Crowd, DrawnVideo, KnownCrowd, KnownFaces

    if people == 1:
        drawn = DrawnVideo(seconds * 25, width, height, face=height / 4)
        return drawn, KnownFaces(drawn)
    centres = [(width * (number + 0.5) / people, height / 2) for number in range(people)]
    crowd = Crowd(seconds * 25, centres, [height / 4] * people, width, height)
    return crowd, KnownCrowd(crowd)


def make(folder: Path, seconds: int, width: int, height: int, people: int) -> None:
    """A drawn video of that length and a noise to go with it."""
    import numpy as np

    from latentsync.media.writer import write_video
    from tests.media.synthetic import write_wav

    drawn, _ = drawn_people(seconds, width, height, people)
    write_video(folder / f"{seconds}.mp4", drawn.frames(), drawn.info, fast_encoding())
    noise = np.random.default_rng(0).standard_normal((seconds * 16_000, 1)) * 3000
    write_wav(folder / f"{seconds}.wav", noise.astype("<i2"))


def scene_of(people: int, waveform, options):
    """Everybody speaks the whole time, in segments of ``TURN`` seconds."""
    from latentsync.constants import AUDIO_RATE
    from latentsync.inference.scene import Cast, Part, Role

    step = TURN * AUDIO_RATE
    parts = tuple(
        Part(Fraction(at, AUDIO_RATE), Fraction(at + len(own), AUDIO_RATE), own, options)
        for at in range(0, len(waveform), step)
        for own in (waveform[at : at + step],)
    )
    roles = tuple(Role(f"index:{number}", parts, f"person {number}") for number in range(people))
    return Cast(roles, Fraction(len(waveform), AUDIO_RATE))


def dub(folder: Path, seconds: int, width: int, height: int, people: int) -> dict[str, float]:
    """The peak of this process in MB, and frames per second."""
    from latentsync.constants import AUDIO_RATE
    from latentsync.face.mask import load_mask
    from latentsync.face.selection import FaceSelector
    from latentsync.face.tracks import FaceTracks
    from latentsync.inference.faces import tracking_settings
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.pipeline import LipsyncPipeline
    from latentsync.media.audio import read_audio
    from latentsync.media.video import VideoFile
    from latentsync.media.writer import write_video
    from latentsync.runtime.memory import keep_freed_memory
    from tests.inference.world import ClockAudio, Identity

    keep_freed_memory()
    audio = folder / f"{seconds}.wav"
    video = VideoFile(folder / f"{seconds}.mp4")
    _, faces = drawn_people(seconds, width, height, people)
    pipeline = LipsyncPipeline(
        lambda options, on_step, kept: Identity(),
        lambda waveform, options: ClockAudio(Fraction(len(waveform), AUDIO_RATE)),
        load_mask("mask", 256),
    )
    start = time.perf_counter()
    options = SyncOptions(check_output=False)
    tracks = FaceTracks(faces, settings=tracking_settings(options))
    if people == 1:
        frames = pipeline.sync(video, read_audio(audio), options, tracks)
    else:
        cast = scene_of(people, read_audio(audio), options)
        tracks.choose([FaceSelector(role.face) for role in cast.roles])
        frames = pipeline.play(video, cast, options, tracks)
    written = write_video(folder / f"{seconds}_dubbed.mp4", frames, video.info, fast_encoding(), audio=audio)
    elapsed = time.perf_counter() - start
    peak = peak_rss() / 2**20
    return {"peak_mb": round(peak), "frames": written.n_frames, "fps": round(written.n_frames / elapsed, 1)}


def fast_encoding():
    """Encoding is not what is measured here."""
    from latentsync.media.writer import EncodingOptions

    return EncodingOptions(codec="h264", preset="ultrafast", crf=23)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600])
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--people", type=int, default=1, help="of a scene; 1: a dub with one audio (1)")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    if arguments.child:
        what, folder, seconds = arguments.child
        result = {"make": make, "dub": dub}[what](Path(folder), int(seconds), width, height, arguments.people)
        print(json.dumps(result))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in arguments.seconds:
            for what in ("make", "dub"):
                child = ["--child", what, folder, str(seconds), "--size", arguments.size]
                people = ["--people", str(arguments.people)]
                command = [sys.executable, "-m", "benchmarks.pipeline_memory", *child, *people]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[f"{seconds} s"] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"benchmark": "pipeline_memory", "size": arguments.size, "people": arguments.people, **results}))


if __name__ == "__main__":
    main()

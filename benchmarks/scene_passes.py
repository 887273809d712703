"""Two people with two audios in one pass against two passes of one: python -m benchmarks.scene_passes

Both halves of a drawn video with two people must be those of the passes in which only that person is dubbed. Of each
pass, from file to file, two figures say what it takes over the generator's work alone: ``processor``, processor seconds
of the process over those that the generator burned, which other work on the machine does not change; and ``wall``,
seconds on the clock over those in which the generator worked. The stub of a generator returns its crops, darker or
lighter, and burns ``--burn`` processor seconds for each window.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.report import publish
from latentsync.constants import AUDIO_RATE
from latentsync.face.mask import load_mask
from latentsync.face.selection import FaceSelector
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.scene import Cast, Part, Role
from latentsync.media.encoding import EncodingOptions
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.types import Frame
from tests.inference.world import ClockAudio, Crowd, Identity, KnownCrowd

DRAWN_ENCODING = EncodingOptions(codec="h264", preset="ultrafast", crf=10)


class Burner(Identity):
    """Shades its crops; ``processor`` and ``wall``: the seconds that it took."""

    def __init__(self, burn: float) -> None:
        super().__init__()
        self._burn, self.processor, self.wall, self.windows = burn, 0.0, 0.0, 0

    def __call__(self, windows):
        processor, wall = time.thread_time(), time.perf_counter()
        faces = np.clip(super().__call__(windows) + 0.2, -1, 1)
        while time.thread_time() - processor < self._burn * len(windows):
            np.sin(faces[0, 0])
        self.processor += time.thread_time() - processor
        self.wall += time.perf_counter() - wall
        self.windows += len(windows)
        return faces


class Halves:
    """Passes frames on; ``digests``: of the left and the right half of each."""

    def __init__(self) -> None:
        self.digests: list[tuple[bytes, bytes]] = []

    def follow(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            middle = frame.pixels.shape[1] // 2
            halves = (frame.pixels[:, :middle], frame.pixels[:, middle:])
            left, right = (hashlib.blake2b(np.ascontiguousarray(half)).digest() for half in halves)
            self.digests.append((left, right))
            yield frame


def run_pass(video: VideoFile, crowd: Crowd, roles: Sequence[Role], output: Path, burn: float):
    """Dub ``roles``; the figures of the pass and the halves of its frames."""
    generator, halves = Burner(burn), Halves()
    pipeline = LipsyncPipeline(
        lambda options, on_step, kept: generator,
        lambda waveform, options: ClockAudio(Fraction(len(waveform), AUDIO_RATE)),
        load_mask("mask", 256),
    )
    options = replace(SyncOptions(), check_output=False)
    tracks = FaceTracks(KnownCrowd(crowd), settings=tracking_settings(options))
    tracks.choose([FaceSelector(role.face) for role in roles])
    processor, wall = time.process_time(), time.perf_counter()
    frames = pipeline.play(video, Cast(tuple(roles), video.info.duration), options, tracks)
    write_video(output, halves.follow(frames), video.info, EncodingOptions(), overwrite=True)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    figures = {
        "windows": generator.windows,
        "processor_seconds": processor,
        "wall_seconds": wall,
        "processor": processor / generator.processor,
        "wall": wall / generator.wall,
    }
    return figures, halves.digests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of the video (4)")
    parser.add_argument("--size", default="960x540", help="of the video (960x540)")
    parser.add_argument("--burn", type=float, default=1.0, help="processor seconds of the generator for a window (1)")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    centres = [(width / 4, height / 2), (3 * width / 4, height / 2)]
    crowd = Crowd(arguments.seconds * 25, centres, [height / 4, height / 3.6], width, height)
    whole = (Fraction(0), Fraction(arguments.seconds))
    audios = np.random.default_rng(0).uniform(-0.1, 0.1, (2, arguments.seconds * AUDIO_RATE)).astype(np.float32)
    anna, ben = (Role(f"index:{k}", (Part(*whole, own, SyncOptions()),), str(k)) for k, own in enumerate(audios))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "crowd.mp4")
        write_video(source, crowd.frames(), crowd.info, DRAWN_ENCODING)
        video, result = VideoFile(source), Path(folder, "result.mp4")
        passes = {
            name: run_pass(video, crowd, roles, result, arguments.burn)
            for name, roles in (("both", (anna, ben)), ("left", (anna,)), ("right", (ben,)))
        }
    (both, frames), (left, alone_left), (right, alone_right) = passes.values()
    composed = [(of_left, of_right) for (of_left, _), (_, of_right) in zip(alone_left, alone_right, strict=True)]
    singles = left["processor_seconds"] + right["processor_seconds"]
    publish(
        "scene_passes",
        {
            "frames": len(frames),
            "frames_equal": sum(one == other for one, other in zip(frames, composed, strict=True)),
            "frames_dubbed": sum(one != other for one, other in zip(alone_left, alone_right, strict=True)),
            "burn": arguments.burn,
            "one_pass": both,
            "left_alone": left,
            "right_alone": right,
            "processor_of_two_passes_over_one": singles / both["processor_seconds"],
        },
        output=arguments.output,
    )


if __name__ == "__main__":
    main()

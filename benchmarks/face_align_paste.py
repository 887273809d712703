"""Frames per second of alignment and paste-back together, without decoding and encoding.

Frames of random smooth content, a face of ``--face`` px (outline), the identity for the network, a pool of
``--workers`` threads with one OpenCV thread each. ``cpu_ms_per_frame`` is what a frame costs whatever else the machine
does. Prints one line of JSON: python -m benchmarks.face_align_paste
"""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np

from latentsync.face.align import FaceAligner
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.stream import parallel_map
from latentsync.types import ArrayFrame

# Left brow, right brow and nose tip region of a frontal face, in widths of its outline from their common centre.
ANCHORS = np.array([[-0.24, -0.14], [0.24, -0.14], [0.0, 0.2]])


def measure(width: int, height: int, face: int, resolution: int, frames: int, workers: int) -> dict:
    """One figure with the circumstances it was measured under."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    frame = ArrayFrame.of(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    aligner, paster = FaceAligner(resolution), FacePaster(load_mask("mask", resolution))
    landmarks = np.zeros((68, 2))
    for part, anchor in zip((slice(17, 22), slice(22, 27), slice(27, 36)), ANCHORS, strict=True):
        landmarks[part] = np.array([width / 2, height / 2]) + face * anchor

    def step(number: int) -> None:
        aligned = aligner.crop(frame, aligner.matrix(landmarks + number % 7 * 0.3))
        fit = paster.fit(aligned.pixels, aligned, frame.shape)
        paster.paste(frame, aligned.pixels, aligned, fit)

    cv2.setNumThreads(1)
    list(parallel_map(step, range(2 * workers), workers))
    start, cpu_start = time.perf_counter(), time.process_time()
    list(parallel_map(step, range(frames), workers))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "benchmark": "face_align_paste",
        "frame": f"{width}x{height}",
        "face_px": face,
        "canvas": resolution,
        "workers": workers,
        "frames": frames,
        "frames_per_second": round(frames / seconds, 1),
        "cpu_ms_per_frame": round(1000 * cpu_seconds / frames, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080", help="frame size (%(default)s)")
    parser.add_argument("--face", type=int, default=190, help="width of the face's outline, px (%(default)s)")
    parser.add_argument("--resolution", type=int, default=256, help="canvas side, px (%(default)s)")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    print(json.dumps(measure(width, height, given.face, given.resolution, given.frames, given.workers)))


if __name__ == "__main__":
    main()

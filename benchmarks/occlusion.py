"""Do things before the mouth keep their pixels, and nothing else? ``--occlusion auto`` on drawn talkers and on clips.

    python -m benchmarks.occlusion --first 36 --talkers 10
    python -m benchmarks.occlusion --talkers 0 --mesh DIR clip.mp4 ...

A talker holds something before the mouth for two seconds, from 1.4 s on, and its truth is known. Landmarks are the
drawn ones with noise of 0.15 pixels. In clips, which are to show nothing before a face, faces are found by YuNet and
the face mesh (``--mesh``: as in ``benchmarks/cross_sync.py``). Columns, of the pixels of the lower face:

- kept     share of the thing's pixels that are kept
- touched  share of the pixels of frames without the thing that are kept by mistake
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from latentsync.data.talkers.clip import TalkerClip, TalkerOptions, make_talker
from latentsync.data.talkers.surroundings import THINGS
from latentsync.face.align import FaceAligner
from latentsync.face.backends import yunet
from latentsync.face.look import Look
from latentsync.face.occlusion import OcclusionFinder
from latentsync.face.resample import warp
from latentsync.face.tracks import FaceTracks
from latentsync.media.video import VideoFile
from latentsync.types import ArrayFrame

SIDE = 128  # of the canvas
NOISE = 0.15  # pixels
HELD = ((1.8, 3.0),)  # seconds between rising and sinking
MOST_FRAMES = 200  # of a clip


def talker(seed: int, thing: str, seconds: float = 4.6, size: int = 320) -> TalkerClip:
    """Who holds one of ``THINGS``, or puts a hand, before the mouth."""
    options = TalkerOptions(hands=HELD) if thing == "hand" else TalkerOptions(thing=thing, held=HELD)
    return make_talker(seed, seed + 100, seed + 200, seconds=seconds, size=size, options=options)


def looks_and_truth(clip: TalkerClip, noise: float = 0.0) -> tuple[list[Look], np.ndarray]:
    """The looks of a talker, and what of each canvas is a thing (N, SIDE, SIDE) in [0, 1]."""
    aligner, looks, truth = FaceAligner(SIDE), [], []
    landmarks = clip.landmarks + np.random.default_rng(clip.identity_seed).normal(0, noise, clip.landmarks.shape)
    for index, pixels in enumerate(clip.frames()):
        face = aligner.align(ArrayFrame.of(pixels), landmarks[index])
        looks.append(Look.of(face.pixels, face.matrix, landmarks[index]))
        truth.append(warp(clip.cover(index)[..., None], face.matrix, (SIDE, SIDE), 0)[..., 0] / 255)
    return looks, np.clip(truth, 0, 1)


def covers_of(looks: Iterable[Look | None]) -> list[np.ndarray | None]:
    """What the finder says of the looks of one shot."""
    finder = OcclusionFinder()
    covers = [cover for index, look in enumerate(looks) for cover in finder.push(index, look)]
    return covers + list(finder.finish())


def counts(looks: Sequence[Look], covers: Sequence[np.ndarray | None], truth: np.ndarray) -> np.ndarray:
    """(4,) pixels: of the thing, kept and all; of frames without it, kept by mistake and all."""
    total = np.zeros(4)
    for look, cover, thing in zip(looks, covers, truth, strict=True):
        face = cv2.resize(look.face, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        face[: SIDE // 2] = False  # nothing is painted above
        full = np.zeros((SIDE, SIDE), np.float32) if cover is None else cv2.resize(cover, (SIDE, SIDE))
        is_thing = face & (thing > 0.5)
        total[:2] += full[is_thing].sum(), is_thing.sum()
        if not is_thing.any():
            total[2:] += full[face].sum(), face.sum()
    return total


def shares(total: np.ndarray) -> tuple[float, float]:
    """Kept and touched, of ``counts`` or sums of them."""
    return float(total[0] / max(total[1], 1)), float(total[2] / max(total[3], 1))


def alarms_of(path: Path, mesh: Path) -> tuple[int, int]:
    """Frames of the clip with a face, and how many of them are said to have something before it."""
    video = VideoFile(path)
    aligner = FaceAligner(256, None, video.info.sample_aspect_ratio)
    finder, shot, faces, alarms = OcclusionFinder(), 0, 0, 0
    for tracked in FaceTracks(yunet.load(mesh, "cpu")).follow(video.frames(0, MOST_FRAMES)):
        look = None
        if tracked.shot != shot:
            shot = tracked.shot
            alarms += sum(cover is not None for cover in finder.finish())
        if tracked.face is not None:
            faces += 1
            matrix = aligner.matrix(tracked.face.landmarks)
            look = Look.of(aligner.crop(tracked.frame, matrix).pixels, matrix, tracked.face.landmarks)
        alarms += sum(cover is not None for cover in finder.push(tracked.frame.index, look))
    return faces, alarms + sum(cover is not None for cover in finder.finish())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--talkers", type=int, default=10)
    parser.add_argument("--first", type=int, default=36, help="seed of the first talker")
    parser.add_argument("--mesh", type=Path, help="folder with the files of the detector 'yunet'")
    parser.add_argument("clips", type=Path, nargs="*")
    chosen = parser.parse_args()
    if chosen.clips and chosen.mesh is None:
        parser.error("clips need --mesh")
    for path in chosen.clips:
        faces, alarms = alarms_of(path, chosen.mesh)
        print(f"{path.name}: {faces} faces, {alarms} false alarms", flush=True)
    rows: dict[str, list[np.ndarray]] = {thing: [] for thing in (*THINGS, "hand")}
    for seed in range(chosen.first, chosen.first + chosen.talkers):
        for thing, done in rows.items():
            looks, truth = looks_and_truth(talker(seed, thing), NOISE)
            done.append(counts(looks, covers_of(looks), truth))
            print(seed, thing, "kept {:.1%}, touched {:.2%}".format(*shares(done[-1])), flush=True)
    if chosen.talkers:
        print("\n| thing | kept | least of a talker | touched |\n|---|---|---|---|")
        for thing, done in rows.items():
            kept, touched = shares(np.sum(done, axis=0))
            print(f"| {thing} | {kept:.1%} | {min(shares(each)[0] for each in done):.1%} | {touched:.2%} |")


if __name__ == "__main__":
    main()

"""Do things before the mouth keep their pixels, and nothing else? ``--occlusion auto`` on drawn talkers and on clips.

    python -m benchmarks.occlusion --first 36 --talkers 10
    python -m benchmarks.occlusion --talkers 0 --mesh DIR clip.mp4 ...
    python -m benchmarks.occlusion --talkers 0 --mesh DIR --draw hand,bar clip.mp4 ...

A talker holds something before the mouth for two seconds, from 1.4 s on, and its truth is known. Landmarks are the
drawn ones with noise of 0.15 pixels. In clips, which are to show nothing before a face, faces are found by YuNet and
the face mesh (``--mesh``: as in ``benchmarks/cross_sync.py``); said is how many frames raise a false alarm, or, with
``--draw``, what becomes of things that are drawn onto the aligned faces of each clip's first shot, the hand in the
color of the nose. Landmarks are then those of the clip without it. Columns, of the pixels of the lower face:

- kept     share of the thing's pixels that are kept
- touched  share of the pixels of frames without the thing that are kept by mistake
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from latentsync.data.talkers.clip import TalkerClip, TalkerOptions, make_talker
from latentsync.data.talkers.surroundings import HAND, THINGS, Layer, paint_before
from latentsync.face.align import FaceAligner
from latentsync.face.backends import yunet
from latentsync.face.look import Look
from latentsync.face.occlusion import OcclusionFinder
from latentsync.face.resample import warp
from latentsync.face.similarity import compose, crop_to_canvas, transform
from latentsync.face.tracks import FaceTracks, TargetFrame
from latentsync.levels import denormalize_canvas, normalize_canvas
from latentsync.media.video import VideoFile
from latentsync.types import AlignedFace, ArrayFrame

SIDE = 128  # of the canvas
NOISE = 0.15  # pixels
HELD = ((1.8, 3.0),)  # seconds between rising and sinking
MOST_FRAMES = 200  # of a clip
CANVAS = 256  # side of the aligned faces of clips
DRAWN_ON, SHOWN, RISING = 110, (43, 90), 11  # frames of a clip; those with the thing; until it is before the mouth
RISE = 3.0  # eye distances


def talker(seed: int, thing: str, seconds: float = 4.6, size: int = 320) -> TalkerClip:
    """Who holds one of ``THINGS``, or puts a hand, before the mouth."""
    options = TalkerOptions(hands=HELD) if thing == HAND else TalkerOptions(thing=thing, held=HELD)
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


def faces_of(path: Path, tracks: FaceTracks, most: int) -> Iterator[tuple[TargetFrame, AlignedFace | None]]:
    """The first frames of a clip, with their aligned faces."""
    video = VideoFile(path)
    aligner = FaceAligner(CANVAS, None, video.info.sample_aspect_ratio)
    for tracked in tracks.follow(video.frames(0, most)):
        seen = tracked.face
        yield tracked, None if seen is None else aligner.crop(tracked.frame, aligner.matrix(seen.landmarks))


def alarms_of(path: Path, tracks: FaceTracks) -> tuple[int, int]:
    """Frames of the clip with a face, and how many of them are said to have something before it."""
    finder, shot, faces, alarms = OcclusionFinder(), 0, 0, 0
    for tracked, face in faces_of(path, tracks, MOST_FRAMES):
        look = None
        if tracked.shot != shot:
            shot = tracked.shot
            alarms += sum(cover is not None for cover in finder.finish())
        if face is not None and tracked.face is not None:
            faces += 1
            look = Look.of(face.pixels, face.matrix, tracked.face.landmarks)
        alarms += sum(cover is not None for cover in finder.push(tracked.frame.index, look))
    return faces, alarms + sum(cover is not None for cover in finder.finish())


def first_shot(path: Path, tracks: FaceTracks) -> tuple[list[AlignedFace], list[np.ndarray]]:
    """The aligned faces of a clip up to the first cut or gap, and their landmarks (68, 2)."""
    faces, landmarks = [], []
    for tracked, face in faces_of(path, tracks, DRAWN_ON):
        if face is None or tracked.face is None or tracked.shot > 0:
            break
        faces.append(face)
        landmarks.append(tracked.face.landmarks)
    return faces, landmarks


def drawn_onto(
    faces: Sequence[AlignedFace], landmarks: Sequence[np.ndarray], thing: str, seed: int
) -> tuple[list[Look], np.ndarray]:
    """As ``looks_and_truth``, of real faces with something before them in the frames ``SHOWN``."""
    unit = float(np.median([_eye_distance(*each) for each in zip(faces, landmarks, strict=True)]))
    clean = [Look.of(face.pixels, face.matrix, points) for face, points in zip(faces, landmarks, strict=True)]
    skin = cv2.cvtColor(clean[0].skin.round().astype(np.uint8)[None, None], cv2.COLOR_YCrCb2RGB)[0, 0] / 255
    layer = paint_before(thing, seed, tuple(skin.tolist()), unit)
    truth = np.zeros((len(faces), SIDE, SIDE), np.float32)
    for index in range(SHOWN[0], min(SHOWN[1], len(faces))):
        from_end = min(index - SHOWN[0] + 1, SHOWN[1] - index) / RISING
        up = min(from_end, 1.0)
        face, cover = _before(faces[index], landmarks[index], layer, RISE * (1 - up * up * (3 - 2 * up)))
        clean[index] = Look.of(face.pixels, face.matrix, landmarks[index])
        truth[index] = cv2.resize(cover, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return clean, truth


def _eye_distance(face: AlignedFace, landmarks: np.ndarray) -> float:
    """Crop pixels between the middles of the eyes."""
    across = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    return float(np.linalg.norm(np.linalg.solve(crop_to_canvas(CANVAS)[:, :2], face.matrix[:, :2] @ across)))


def _before(face: AlignedFace, landmarks: np.ndarray, layer: Layer, lower: float) -> tuple[AlignedFace, np.ndarray]:
    """The face with the layer before it, and (CANVAS, CANVAS) in [0, 1] where; ``lower``: units below its place."""
    to_canvas, grid = crop_to_canvas(CANVAS), layer.grid
    nose = np.linalg.solve(to_canvas[:, :2], transform(face.matrix, landmarks[33]) - to_canvas[:, 2])
    corner = nose + np.array([grid.left, grid.top + 0.45 + lower]) * grid.scale
    place = compose(to_canvas, np.array([[1.0, 0, corner[0]], [0, 1.0, corner[1]]]))
    color, cover = (
        cv2.warpAffine(image, place, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR).astype(np.float32)
        for image in (layer.color, layer.cover)
    )
    cover /= 255
    levels = denormalize_canvas(face.pixels)
    levels += (color.transpose(2, 0, 1) - levels) * cover
    return replace(face, pixels=normalize_canvas(levels)), cover


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--talkers", type=int, default=10)
    parser.add_argument("--first", type=int, default=36, help="seed of the first talker")
    parser.add_argument("--mesh", type=Path, help="folder with the files of the detector 'yunet'")
    parser.add_argument("--draw", default="", help="hand or the name of a thing, with commas: drawn onto the clips")
    parser.add_argument("clips", type=Path, nargs="*")
    chosen = parser.parse_args()
    if chosen.clips and chosen.mesh is None:
        parser.error("clips need --mesh")
    detector = yunet.load(chosen.mesh, "cpu") if chosen.clips else None
    drawn: dict[str, list[np.ndarray]] = {thing: [] for thing in chosen.draw.split(",") if thing}
    for number, path in enumerate(chosen.clips):
        assert detector is not None
        if not drawn:
            faces, alarms = alarms_of(path, FaceTracks(detector))
            print(f"{path.name}: {faces} faces, {alarms} false alarms", flush=True)
            continue
        shot = first_shot(path, FaceTracks(detector))
        for thing, done in drawn.items() if len(shot[0]) > SHOWN[0] + RISING else ():
            looks, truth = drawn_onto(*shot, thing, number)
            _count(done, looks, truth, f"{path.name} {thing}")
    rows: dict[str, list[np.ndarray]] = {thing: [] for thing in (*THINGS, HAND)}
    for seed in range(chosen.first, chosen.first + chosen.talkers):
        for thing, done in rows.items():
            looks, truth = looks_and_truth(talker(seed, thing), NOISE)
            _count(done, looks, truth, f"{seed} {thing}")
    for table in (drawn, rows):
        if any(table.values()):
            print("\n| thing | kept | least of one | touched |\n|---|---|---|---|")
        for thing, done in table.items():
            if done:
                kept, touched = shares(np.sum(done, axis=0))
                print(f"| {thing} | {kept:.1%} | {min(shares(each)[0] for each in done):.1%} | {touched:.2%} |")


def _count(done: list[np.ndarray], looks: Sequence[Look], truth: np.ndarray, name: str) -> None:
    done.append(counts(looks, covers_of(looks), truth))
    print(name, "kept {:.1%}, touched {:.2%}".format(*shares(done[-1])), flush=True)


if __name__ == "__main__":
    main()

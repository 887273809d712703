"""What the pictures say: aligned faces of result, truth and source, held against one another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from latentsync.errors import DataError
from latentsync.evaluation.faces import FacePath
from latentsync.evaluation.recording import Recording
from latentsync.evaluation.voices import face_of
from latentsync.face.similarity import transform
from latentsync.metrics.fidelity import average, lpips_distance, psnr_of, similarities, squared_errors
from latentsync.metrics.i3d import FRAMES, face_image
from latentsync.metrics.identity import csim, face_square
from latentsync.metrics.seam import seam_step
from latentsync.metrics.sharpness import relative_sharpness
from latentsync.metrics.temporal import flicker, temporal_error

# What a picture that is compared with itself scores.
EQUAL = {
    "psnr_inside": float("inf"),
    "psnr_outside": float("inf"),
    "ssim_inside": 1.0,
    "ssim_outside": 1.0,
    "lpips_inside": 0.0,
    "lpips_outside": 0.0,
    "temporal_error": 0.0,
    "seam": 0.0,
    "csim": 1.0,
}
Figures = dict[str, Callable[[], float]]  # still to be computed; each may raise ``DataError``


@dataclass(frozen=True, slots=True)
class FaceStrip:
    """``faces`` (N, R, R, 3) uint8, on disk; ``landmarks`` (N, 68, 2) on the canvas, not a number where unknown;
    ``found`` (N,) bool."""

    faces: np.ndarray
    landmarks: np.ndarray
    found: np.ndarray

    def with_landmarks(self, stride: int) -> np.ndarray:
        """Numbers of every ``stride``-th frame that has them."""
        known = self.found & np.isfinite(self.landmarks).all(axis=(1, 2))
        return np.flatnonzero(known)[::stride]


def cut_faces(
    recording: Recording, placed: FacePath, own: FacePath | None, resolution: int, folder: Path, name: str
) -> FaceStrip:
    """Write the faces of a recording to a file in ``folder``, aligned as ``placed`` says; frames beyond it are left
    out. ``own`` knows the landmarks of this recording, if anything does."""
    count = min(recording.n_frames, len(placed.matrices))
    faces = np.lib.format.open_memmap(
        folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(count, resolution, resolution, 3)
    )
    landmarks = np.full((count, 68, 2), np.nan)
    found = np.array([matrix is not None for matrix in placed.matrices[:count]])
    with closing(recording.pictures()) as pictures:
        for index, (picture, matrix) in enumerate(zip(islice(pictures, count), placed.matrices, strict=False)):
            if matrix is not None:
                faces[index] = face_of(picture, matrix, resolution)
                if own is not None and index < len(own.landmarks):
                    landmarks[index] = transform(matrix, own.landmarks[index])
    return FaceStrip(faces, landmarks, found)


def compared(
    mine: FaceStrip, reference: FaceStrip, keep_mask: np.ndarray, lpips: nn.Module | None, stride: int
) -> Figures:
    """Fidelity and seam of a strip against the reference, aligned in the same way; ``keep_mask`` (R, R).

    Raises ``DataError`` if they have no two frames in common.
    """
    frames = _common(mine, reference)
    few = frames[::stride]
    hole, kept = 1 - keep_mask, keep_mask

    @cache
    def error() -> np.ndarray:  # one look at every frame serves inside and outside
        return _mean_map(squared_errors, mine, reference, frames)

    @cache
    def likeness() -> np.ndarray:
        return _mean_map(similarities, mine, reference, few)

    def seams() -> float:
        return float(np.mean([seam_step(mine.faces[i], reference.faces[i], keep_mask) for i in few]))

    figures: Figures = {
        "psnr_inside": lambda: psnr_of(average(error(), hole)),
        "psnr_outside": lambda: psnr_of(average(error(), kept)),
        "ssim_inside": lambda: average(likeness(), hole),
        "ssim_outside": lambda: average(likeness(), kept),
        "temporal_error": lambda: _temporal_error(mine, reference, frames, hole > 0.5),
        "seam": seams,
    }
    if lpips is not None:
        figures |= {
            "lpips_inside": lambda: _lpips(lpips, mine, reference, few, hole),
            "lpips_outside": lambda: _lpips(lpips, mine, reference, few, kept),
        }
    return figures


def flicker_in_silence(strip: FaceStrip, speaking: np.ndarray, keep_mask: np.ndarray) -> float:
    """Grey levels; ``speaking`` (>= N,) bool. Raises ``DataError`` if there is no silence."""
    frames = np.flatnonzero(strip.found)
    quiet = ~speaking[frames]
    return flicker((strip.faces[i] for i in frames), quiet[1:] & quiet[:-1], keep_mask < 0.5)


def sharpness_of_mouth(strip: FaceStrip, source: FaceStrip, keep_mask: np.ndarray, stride: int) -> float:
    """Median over frames of the mouth's sharpness, relative to the source's."""
    frames = np.intersect1d(strip.with_landmarks(stride), source.with_landmarks(1))
    if not len(frames):
        raise DataError("no landmarks of the mouth in both", remedy="Choose another --detector.")
    values = [
        relative_sharpness(strip.faces[i], source.faces[i], strip.landmarks[i], source.landmarks[i], keep_mask < 0.5)
        for i in frames
    ]
    return float(np.median(values))


def likeness_of_person(network: nn.Module, strip: FaceStrip, reference: FaceStrip, stride: int) -> float:
    """CSIM."""
    frames = np.intersect1d(strip.with_landmarks(stride), reference.with_landmarks(1))
    if not len(frames):
        raise DataError("no landmarks in both", remedy="Choose another --detector.")
    mine, true = (np.stack([face_square(s.faces[i], s.landmarks[i]) for i in frames]) for s in (strip, reference))
    return csim(network, mine, true)


def faces_of_fvd(recording: Recording, boxes: np.ndarray, first_frame: int) -> np.ndarray:
    """(16, 224, 224, 3) uint8 from ``first_frame`` on; ``boxes`` (N, 4). Raises ``DataError`` for a shorter clip."""
    stop = first_frame + FRAMES
    if min(recording.n_frames, len(boxes)) < stop or not np.isfinite(boxes[first_frame:stop]).all():
        raise DataError(
            f"FVD looks at frames {first_frame} to {stop - 1}: they are not there, or do not show the face",
            remedy="Choose longer clips, or another --fvd_first_frame.",
        )
    with closing(recording.pictures()) as pictures:
        shown = list(islice(pictures, first_frame, stop))
    return np.stack([face_image(frame, box) for frame, box in zip(shown, boxes[first_frame:stop], strict=True)])


def _common(mine: FaceStrip, reference: FaceStrip) -> np.ndarray:
    """Numbers of the frames that both have. Raises ``DataError`` if there is none."""
    count = min(len(mine.found), len(reference.found))
    frames = np.flatnonzero(mine.found[:count] & reference.found[:count])
    if len(frames) < 2:
        raise DataError("no face in two common frames", remedy="Choose clips with a visible face.")
    return frames


def _mean_map(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], mine: FaceStrip, reference: FaceStrip, frames: np.ndarray
) -> np.ndarray:
    """(R, R) float64: mean over ``frames`` of what ``measure`` says of each pixel."""
    total = np.zeros(mine.faces.shape[1:3])
    for i in frames:
        total += measure(mine.faces[i], reference.faces[i])
    return total / len(frames)


def _temporal_error(mine: FaceStrip, reference: FaceStrip, frames: np.ndarray, region: np.ndarray) -> float:
    return temporal_error((mine.faces[i] for i in frames), (reference.faces[i] for i in frames), region)


def _lpips(network: nn.Module, mine: FaceStrip, reference: FaceStrip, frames: np.ndarray, region: np.ndarray) -> float:
    return lpips_distance(network, mine.faces[frames], reference.faces[frames], region)

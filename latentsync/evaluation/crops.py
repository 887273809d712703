"""Crop: the aligned faces of result, truth and source, and what they say when held against one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
from lpips import LPIPS
from torch import nn

from latentsync.audio.voice_activity import speaking_frames
from latentsync.errors import DataError
from latentsync.evaluation.faces import FacePath, RowFaces
from latentsync.evaluation.missing import Missing, attempt
from latentsync.evaluation.recordings import OpenedClip, Recording, WindowJoins
from latentsync.evaluation.settings import TRUTH, EvaluationSettings
from latentsync.face.align import align_face
from latentsync.face.similarity import transform
from latentsync.levels import to_image
from latentsync.metrics import hyperiqa, identity, temporal
from latentsync.metrics.color_difference import lip_color, lip_color_difference
from latentsync.metrics.fidelity import average, lpips_distance, psnr_of, similarities, squared_errors
from latentsync.metrics.i3d import FRAMES, face_image, i3d_features
from latentsync.metrics.inception import inception_features
from latentsync.metrics.seam import seam_step, smudge
from latentsync.metrics.sharpness import relative_sharpness


@dataclass(frozen=True, slots=True)
class FaceCrops:
    """``faces`` (N, R, R, 3) uint8, on disk; ``landmarks`` (N, 68, 2) on the canvas, not a number where unknown;
    ``found`` (N,) bool."""

    faces: np.ndarray
    landmarks: np.ndarray
    found: np.ndarray

    def with_landmarks(self, stride: int) -> np.ndarray:
        """Numbers of every ``stride``-th frame that has them."""
        known = self.found & np.isfinite(self.landmarks).all(axis=(1, 2))
        return np.flatnonzero(known)[::stride]


def crop_clip(
    clip: OpenedClip, faces: Mapping[str, RowFaces], settings: EvaluationSettings, folder: Path
) -> dict[str, FaceCrops | Missing]:
    """The crops of every row that has a recording, kept in ``folder``: all where the face of the reference is, but
    for a truth that shows another person."""
    reference = faces[clip.reference].place if clip.reference in faces else Missing()
    if isinstance(reference, Missing):
        return dict.fromkeys(clip.recordings, Missing())
    crops: dict[str, FaceCrops | Missing] = {}
    for row, recording in clip.recordings.items():
        place = faces[row].place if row == TRUTH and clip.reference != TRUTH else reference
        mouth, file = faces[row].mouth, folder / f"{row}.npy"
        landmarks = None if isinstance(mouth, Missing) else mouth.landmarks
        if isinstance(place, Missing):
            crops[row] = Missing()
        else:
            # The error that is expected: a file that is damaged in the middle.
            crops[row] = attempt(partial(crop_faces, recording, place, landmarks, settings.resolution, file))
    return crops


def crop_faces(
    recording: Recording, place: FacePath, landmarks: np.ndarray | None, resolution: int, file: Path
) -> FaceCrops:
    """Write the faces of a recording to ``file``, aligned as ``place`` says; frames beyond it are left out.
    ``landmarks`` (M, 68, 2), frame px, are this recording's own, if they are known. Raises ``VideoError``."""
    count = min(recording.n_frames, len(place.matrices))
    faces = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(count, resolution, resolution, 3))
    on_canvas = np.full((count, 68, 2), np.nan)
    found = np.array([matrix is not None for matrix in place.matrices[:count]])
    with closing(recording.frames()) as frames:
        for index, (frame, matrix) in enumerate(zip(islice(frames, count), place.matrices, strict=False)):
            if matrix is not None:
                faces[index] = crop_face(frame, matrix, resolution)
                if landmarks is not None and index < len(landmarks):
                    on_canvas[index] = transform(matrix, landmarks[index])
    return FaceCrops(faces, on_canvas, found)


def crop_face(frame: np.ndarray, matrix: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, 3) uint8 aligned face."""
    return to_image(align_face(frame, matrix, resolution).pixels)


@dataclass(frozen=True)
class Comparison:
    """The crops of a row beside those of the ``reference``, aligned in the same way. ``frames`` (n,) are the numbers
    of those that both have; ``few`` of them, for what is costly."""

    mine: FaceCrops
    reference: FaceCrops
    frames: np.ndarray
    few: np.ndarray

    @cached_property
    def squared_error(self) -> np.ndarray:
        """(R, R) float64: mean of the squared error of each pixel."""
        return self._mean(squared_errors, self.frames)

    @cached_property
    def similarity(self) -> np.ndarray:
        """(R, R) float64: mean of the structural similarity around each pixel."""
        return self._mean(similarities, self.few)

    def _mean(self, measure: Callable[[np.ndarray, np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
        total = np.zeros(self.mine.faces.shape[1:3])
        for i in frames:
            total += measure(self.mine.faces[i], self.reference.faces[i])
        return total / len(frames)


def compare(mine: FaceCrops, reference: FaceCrops, stride: int) -> Comparison:
    """Raises ``DataError`` if they have no two frames in common."""
    count = min(len(mine.found), len(reference.found))
    frames = np.flatnonzero(mine.found[:count] & reference.found[:count])
    if len(frames) < 2 and mine is not reference:
        raise DataError("no face in two common frames", remedy="Choose clips with a visible face.")
    return Comparison(mine, reference, frames, frames[::stride])


def psnr(both: Comparison, region: np.ndarray) -> float:
    """dB in ``region`` (R, R), weights in [0, 1]."""
    return psnr_of(average(both.squared_error, region))


def ssim(both: Comparison, region: np.ndarray) -> float:
    """In ``region`` (R, R), weights in [0, 1]."""
    return average(both.similarity, region)


def lpips(network: LPIPS, both: Comparison, region: np.ndarray) -> float:
    """From the differences in ``region`` (R, R), weights in [0, 1]."""
    few = both.few
    return lpips_distance(network, both.mine.faces[few], both.reference.faces[few], region)


def temporal_error(both: Comparison, keep_mask: np.ndarray) -> float:
    """Grey levels, in the generated area."""
    mine, true = both.mine.faces, both.reference.faces
    frames = both.frames
    return temporal.temporal_error((mine[i] for i in frames), (true[i] for i in frames), 1 - keep_mask > 0.5)


def seam(both: Comparison, keep_mask: np.ndarray) -> float:
    """ΔE2000."""
    pairs = ((both.mine.faces[i], both.reference.faces[i]) for i in both.few)
    return float(np.mean([seam_step(mine, true, keep_mask) for mine, true in pairs]))


def smudges(both: Comparison, keep_mask: np.ndarray) -> float:
    """Grey levels. Raises ``DataError``."""
    mine, true = both.mine, both.reference
    frames = _with_both_landmarks(both)
    return float(
        np.mean([smudge(mine.faces[i], true.faces[i], mine.landmarks[i], true.landmarks[i], keep_mask) for i in frames])
    )


def lips(both: Comparison) -> float:
    """ΔE2000 of the lips. Raises ``DataError``."""
    frames = _with_both_landmarks(both)
    mine, true = (
        np.stack([lip_color(each.faces[i], each.landmarks[i]) for i in frames]) for each in (both.mine, both.reference)
    )
    return lip_color_difference(mine, true)


def _with_both_landmarks(both: Comparison) -> np.ndarray:
    """Few frames that both have landmarks of. Raises ``DataError`` if there are none."""
    known = np.intersect1d(both.mine.with_landmarks(1), both.reference.with_landmarks(1))
    frames = np.intersect1d(both.few, known)
    if not len(frames):
        raise DataError("no landmarks in both", remedy="Choose another --detector.")
    return frames


def joins(crops: FaceCrops, keep_mask: np.ndarray, period: int, known: WindowJoins | None) -> float:
    """The ratio of change at the ``known`` joins of windows; None: the strongest ratio of windows that lie ``period``
    frames apart. Raises ``DataError``."""
    if not crops.found.all():
        raise DataError("the face is lost on the way", remedy="Measure joins on clips that show it throughout.")
    changes = temporal.frame_changes(crops.faces, keep_mask < 0.5)
    if known is None:
        return temporal.strongest_join_ratio(changes, period)
    return temporal.join_ratio(changes, temporal.join_steps(len(crops.faces), known.starts, known.shared))


def csim(network: nn.Module, both: Comparison, stride: int) -> float:
    """Cosine of the two persons. Raises ``DataError`` if there are no landmarks to align them by."""
    frames = np.intersect1d(both.mine.with_landmarks(stride), both.reference.with_landmarks(1))
    if not len(frames):
        raise DataError("no landmarks in both", remedy="Choose another --detector.")
    mine, true = (
        np.stack([identity.face_square(crops.faces[i], crops.landmarks[i]) for i in frames])
        for crops in (both.mine, both.reference)
    )
    return identity.csim(network, mine, true)


def sharpness(crops: FaceCrops, source: FaceCrops, keep_mask: np.ndarray, stride: int) -> float:
    """Median over frames of the mouth's sharpness, relative to the source's. Raises ``DataError``."""
    frames = np.intersect1d(crops.with_landmarks(stride), source.with_landmarks(1))
    if not len(frames):
        raise DataError("no landmarks of the mouth in both", remedy="Choose another --detector.")
    values = [
        relative_sharpness(crops.faces[i], source.faces[i], crops.landmarks[i], source.landmarks[i], keep_mask < 0.5)
        for i in frames
    ]
    return float(np.median(values))


def flicker(crops: FaceCrops, audio: np.ndarray, keep_mask: np.ndarray) -> float:
    """Grey levels while the ``audio`` is silent. Raises ``DataError`` if it never is."""
    frames = np.flatnonzero(crops.found)
    quiet = ~speaking_frames(audio, len(crops.found))[frames]
    return temporal.flicker((crops.faces[i] for i in frames), quiet[1:] & quiet[:-1], keep_mask < 0.5)


def quality(crops: FaceCrops, network: hyperiqa.HyperIQA) -> float:
    """hyperIQA of the first, middle and last face. Raises ``DataError``."""
    frames = np.flatnonzero(crops.found)
    chosen = [frames[place] for place in (0, len(frames) // 2, -1)] if len(frames) else []
    return hyperiqa.quality(network, [crops.faces[i] for i in chosen])


def fid_features(crops: FaceCrops, network: nn.Module, stride: int) -> np.ndarray | Missing:
    """(n, 2048) float32 of every ``stride``-th face."""
    few = np.flatnonzero(crops.found)[::stride]
    return inception_features(network, crops.faces[few]) if len(few) else Missing()


def fvd_features(place: FacePath, network: nn.Module, recording: Recording, settings: EvaluationSettings) -> np.ndarray:
    """(1, 400) float32 of 16 frames, cropped to the boxes of ``place``. Raises ``DataError`` for a shorter clip."""
    start = settings.fvd_first_frame
    boxes = place.boxes[start : start + FRAMES]
    if min(recording.n_frames, len(place.boxes)) < start + FRAMES or not np.isfinite(boxes).all():
        raise DataError(
            f"FVD looks at frames {start} to {start + FRAMES - 1}: they are not there, or do not show the face",
            remedy="Choose longer clips, or another --fvd_first_frame.",
        )
    with closing(recording.frames()) as frames:
        shown = list(islice(frames, start, start + FRAMES))
    faces = np.stack([face_image(frame, box) for frame, box in zip(shown, boxes, strict=True)])
    return i3d_features(network, faces, settings.fvd_range)[None]

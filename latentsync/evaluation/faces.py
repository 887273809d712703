"""The face that is judged, through one recording: where it is, smoothly, and what its mouth does, unsmoothed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.errors import ConfigError, NoFaceError, WeightsMissingError
from latentsync.evaluation.recording import Recording
from latentsync.face.align import FaceAligner
from latentsync.face.detections_file import Detections, read_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.selection import FaceSelector, TargetFrame
from latentsync.face.tracks import FaceTracks
from latentsync.media.rate import nearest
from latentsync.types import FaceObservation

LEAST_SHARE = 0.5  # of the frames that must show the face


@dataclass(frozen=True, slots=True)
class FacePath:
    """For each of N frames at 25 per second. ``matrices`` frame px -> canvas px, None without the face; ``boxes``
    (N, 4) and ``landmarks`` (N, 68, 2), frame px, not a number without; ``cuts`` first frames of later shots.
    ``landmarks`` are the detector's own, without smoothing, which would flatten the mouth."""

    matrices: tuple[np.ndarray | None, ...]
    boxes: np.ndarray
    landmarks: np.ndarray
    cuts: tuple[int, ...]

    @property
    def share(self) -> float:
        """Of the frames that show the face."""
        return float(np.mean([matrix is not None for matrix in self.matrices]))


def follow_face(
    recording: Recording, detector: FaceDetector | None, given: Detections | None, face: str, resolution: int
) -> FacePath:
    """The path of the chosen face; ``given`` faces go before the ``detector``, whose findings are kept for the next
    run on the same file.

    Raises ``NoFaceError`` if less than half of the frames show it, ``VideoError``, and ``ConfigError`` for a choice
    that makes no sense.
    """
    path = recording.video.info.path
    selector = FaceSelector(face)
    tracks = FaceTracks.given(given, selector) if given is not None else FaceTracks.cached(path, detector, selector)
    frames = recording.video.frames()
    try:
        looks = [_look(target, tracks.detections) for target in tracks.follow(frames)]
    finally:
        frames.close()
    tracks.save()
    found = _at_rate(recording, looks, FaceAligner(resolution))
    if found.share < LEAST_SHARE:
        raise NoFaceError(
            f"no face: found in {found.share:.0%} of the frames of {path}",
            remedy="Choose clips with a visible face, or another --face or --detector.",
        )
    return found


def known_or_found(recording: Recording, detector: FaceDetector | str, face: str, resolution: int) -> FacePath:
    """``follow_face`` with the faces in a file beside the video, else with the ``detector``.

    Raises as ``follow_face``, and ``WeightsMissingError`` if there is neither, ``detector`` being the sentence why.
    """
    given = given_faces(recording.video.info.path)
    if given is None and isinstance(detector, str):
        raise WeightsMissingError(detector, remedy="Or lay a file of faces beside the video.")
    return follow_face(recording, None if given is not None else detector, given, face, resolution)


def given_faces(video: Path) -> Detections | None:
    """The faces in the file of the same name beside a video, ``.npz`` or ``.json`` (``face.detections_file``), or the
    truth that ``scripts.make_talkers`` writes; None if there is no such file. Raises ``ConfigError``."""
    file = faces_beside(video)
    if file is None:
        return None
    return _talker(file) if file.suffix == ".npz" and _is_talker(file) else read_detections(file)


def faces_beside(video: Path) -> Path | None:
    """The file that ``given_faces`` reads."""
    video = video.resolve()  # beside the video itself, not beside a link to it
    return next((f for f in (video.with_suffix(".npz"), video.with_suffix(".json")) if f.is_file()), None)


@dataclass(frozen=True, slots=True)
class _Look:
    time: object  # Fraction, s
    face: FaceObservation | None
    landmarks: np.ndarray | None
    shot: int


def _look(target: TargetFrame, detections: Detections) -> _Look:
    if target.face is None:
        return _Look(target.frame.time, None, None, target.shot)
    seen = detections.get(target.frame.index, [])
    best = max(seen, key=lambda each: _overlap(each.box, target.face.box), default=None)
    landmarks = best.landmarks if best is not None and _overlap(best.box, target.face.box) > 0 else None
    return _Look(target.frame.time, target.face, landmarks, target.shot)


def _at_rate(recording: Recording, looks: Sequence[_Look], aligner: FaceAligner) -> FacePath:
    info = recording.video.info
    scale = np.array([recording.size[0] / info.width, recording.size[1] / info.height])
    shown = list(nearest(looks, lambda look: look.time, recording.n_frames))
    matrices, boxes, landmarks = [], np.full((len(shown), 4), np.nan), np.full((len(shown), 68, 2), np.nan)
    for index, look in enumerate(shown):
        matrices.append(None if look.face is None else aligner.matrix(look.face.landmarks * scale))
        if look.face is not None:
            boxes[index] = look.face.box * np.tile(scale, 2)
        if look.landmarks is not None:
            landmarks[index] = look.landmarks * scale
    shots = [look.shot for look in shown]
    cuts = tuple(k for k in range(1, len(shots)) if shots[k] != shots[k - 1])
    return FacePath(tuple(matrices), boxes, landmarks, cuts)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    return shared / (float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared)


def _is_talker(file: Path) -> bool:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return "mouth_free" in archive
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file} is no file of faces: {error}.", remedy="Remove or mend it.") from error


def _talker(file: Path) -> Detections:
    """The speaker, where visible."""
    with np.load(file, allow_pickle=False) as archive:
        landmarks, visible = archive["landmarks"][0], archive["visible"][0]
    return {
        index: [Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)] if seen else []
        for index, (points, seen) in enumerate(zip(landmarks, visible, strict=True))
    }

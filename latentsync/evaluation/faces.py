"""Follow: the face that is scored, through each recording: where it is, smoothly, and its mouth, unsmoothed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.errors import ConfigError, NoFaceError, WeightsMissingError
from latentsync.evaluation.missing import Missing, attempt, first
from latentsync.evaluation.recordings import OpenedClip, Recording
from latentsync.evaluation.settings import RESULT, EvaluationSettings
from latentsync.face.align import FaceAligner
from latentsync.face.box import intersection_over_union
from latentsync.face.detections_file import Detections, read_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.selection import FaceSelector, TargetFrame
from latentsync.face.tracks import FaceTracks
from latentsync.media.rate import nearest
from latentsync.types import FaceObservation

LEAST_SHARE = 0.5  # of the frames that must show the face


@dataclass(frozen=True, slots=True)
class FacePath:
    """For each of N frames at 25 per second. ``matrices`` (2, 3) frame px -> canvas px, None without the face;
    ``boxes`` (N, 4) and ``landmarks`` (N, 68, 2), frame px, not a number without; ``cuts`` first frames of later shots.
    ``landmarks`` are the detector's own, without smoothing, which would flatten the mouth."""

    matrices: tuple[np.ndarray | None, ...]
    boxes: np.ndarray
    landmarks: np.ndarray
    cuts: tuple[int, ...]

    @property
    def share(self) -> float:
        """Of the frames that show the face."""
        return float(np.mean([matrix is not None for matrix in self.matrices]))


@dataclass(frozen=True, slots=True)
class RowFaces:
    """The face of one row of a clip.

    ``given``: as the file of faces beside the video says. ``mouth``: by the landmarks that compare with those of the
    other rows. ``place``: where the face is cut out, for which another row may have to stand in. ``in_vain``: whether
    a face was looked for and not found; such crops still compare with others, but a sync network finds some agreement
    in anything.
    """

    given: FacePath | Missing = Missing()
    mouth: FacePath | Missing = Missing()
    place: FacePath | Missing = Missing()
    in_vain: bool = False

    @property
    def own(self) -> FacePath | Missing:
        """As it was found in this recording."""
        return first(self.mouth, self.given)

    @property
    def visible(self) -> FacePath | Missing:
        """The place of a face that is there to be seen."""
        return self.own if self.in_vain or isinstance(self.place, Missing) else self.place


def follow_clip(
    clip: OpenedClip, detector: FaceDetector | Missing, settings: EvaluationSettings
) -> dict[str, RowFaces]:
    """The face of every row that has a recording.

    Mouths are only compared if all come from one landmarker: files of faces where all recordings have one, else the
    detector. A file of faces always says where the face is. A damaged one leaves the whole clip without faces.
    """
    try:
        files = {row: given_faces(each.video.info.path) for row, each in clip.recordings.items()}
    except ConfigError as error:
        return dict.fromkeys(clip.recordings, RowFaces(given=Missing(error.message)))
    shared = all(faces is not None for faces in files.values())
    found = {
        row: _follow_row(recording, files[row], detector, shared, settings)
        for row, recording in clip.recordings.items()
    }
    reference = found.get(clip.reference, RowFaces())
    target = settings.setting.truth_is_target
    return {row: replace(faces, place=_place(row, faces, reference, target)) for row, faces in found.items()}


def _follow_row(
    recording: Recording,
    given: Detections | None,
    detector: FaceDetector | Missing,
    shared: bool,
    settings: EvaluationSettings,
) -> RowFaces:
    """All but the place. ``shared``: all rows have ``given`` faces, so the mouth is theirs."""
    by_file: FacePath | Missing = Missing()
    if given is not None:
        by_file = attempt(lambda: follow_face(recording, detector, given, settings))
    mouth = by_file
    if not shared:
        mouth = attempt(lambda network: follow_face(recording, network, None, settings), detector)
    if isinstance(mouth, Missing) and isinstance(by_file, Missing):
        searched = given is not None or not isinstance(detector, Missing)
        return RowFaces(by_file, Missing(by_file.reason or mouth.reason), in_vain=searched)
    return RowFaces(by_file, mouth)


def _place(row: str, faces: RowFaces, reference: RowFaces, target: bool) -> FacePath | Missing:
    """As a file says, of the row itself or of the frames that it should show; else as was found; a result in which
    nothing was found is cut where the face should be."""
    if row != RESULT:
        return first(faces.given, faces.mouth)
    should_be = reference.given if target else Missing()
    return first(faces.given, should_be, faces.mouth, reference.given, reference.mouth)


def follow_face(
    recording: Recording, detector: FaceDetector | Missing, given: Detections | None, settings: EvaluationSettings
) -> FacePath:
    """The path of the chosen face; ``given`` faces go before the ``detector``, whose findings are kept for the next
    run on the same file.

    Raises ``NoFaceError`` if less than half of the frames show it, ``WeightsMissingError`` if there is nothing to find
    it with, ``VideoError``, and ``ConfigError`` for a choice that makes no sense.
    """
    path = recording.video.info.path
    if given is not None:
        tracks = FaceTracks.given(given, FaceSelector(settings.face))
    elif isinstance(detector, Missing):
        raise WeightsMissingError(detector.reason, remedy="Or lay a file of faces beside the video.")
    else:
        tracks = FaceTracks.cached(path, detector, FaceSelector(settings.face))
    with closing(recording.video.frames()) as frames:
        looks = [_look(target, tracks.detections) for target in tracks.follow(frames)]
    tracks.save()
    found = _at_rate(recording, looks, FaceAligner(settings.resolution))
    if found.share < LEAST_SHARE:
        raise NoFaceError(
            f"no face: found in {found.share:.0%} of the frames of {path}",
            remedy="Choose clips with a visible face, or another --face or --detector.",
        )
    return found


def given_faces(video: Path) -> Detections | None:
    """The faces in the file of the same name beside a video, ``.npz`` or ``.json`` (``face.detections_file``), or the
    truth that ``latentsync talkers`` writes; None if there is no such file. Raises ``ConfigError``."""
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
    time: Fraction  # s
    face: FaceObservation | None
    landmarks: np.ndarray | None
    shot: int


def _look(target: TargetFrame, detections: Detections) -> _Look:
    face = target.face
    if face is None:
        return _Look(target.frame.time, None, None, target.shot)
    seen = detections.get(target.frame.index, [])
    best = max(seen, key=lambda each: intersection_over_union(each.box, face.box), default=None)
    landmarks = best.landmarks if best is not None and intersection_over_union(best.box, face.box) > 0 else None
    return _Look(target.frame.time, face, landmarks, target.shot)


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


def _is_talker(file: Path) -> bool:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return "mouth_free" in archive
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file} is no file of faces: {error}.", remedy="Remove or mend it.") from error


def _talker(file: Path) -> Detections:
    """The speaker, where visible."""
    with np.load(file, allow_pickle=False) as archive:
        landmarks, visible = archive["landmarks"][0], archive["visible"][0]
    return {
        index: [Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)] if seen else []
        for index, (points, seen) in enumerate(zip(landmarks, visible, strict=True))
    }

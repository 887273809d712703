"""Step 5: clips of one face, of at least 256 pixels. Detection ends at the first frame that settles it.

Faces are detected in every n-th frame; tracking (``track_one_shot``) fills in the frames between for step 6.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from latentsync.face.detections_file import Detections, write_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.tracking import TrackedFrame, TrackingSettings, track_faces
from latentsync.media.video import VideoFile
from latentsync.preprocess.clip_record import MadeClip, StepInput, StepResult
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.types import Frame

VERSION = 2

_BATCH = 8  # frames that are detected together
_MISSES = 1  # detections in a row that may miss a face that is there
_SLIPS = 1  # detections in all that may find a second face that is not there


def run(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """The faces found are kept at ``job.faces``, so that step 6 need not detect them again."""
    count = FaceCount(settings.faces.min_side)
    numbers = detection_frames(job.clip.frames, settings.faces.stride)
    with closing(VideoFile(job.file).frames(only=numbers)) as frames:
        found = detect_faces(frames, job.clip.frames, networks.detector, count)
    figures: dict[str, int | float | str] = {"looks": count.detections, "detector": networks.detector.name}
    if count.sides:
        figures["face_side"] = round(count.side, 1)
    if count.reason:
        return StepResult(reason=count.reason, figures=figures)
    job.faces.parent.mkdir(parents=True, exist_ok=True)
    write_detections(job.faces, found)
    return StepResult((MadeClip(job.clip),), figures=figures)


@dataclass
class FaceCount:
    """What the detections in a clip say so far. ``reason`` as in ``StepResult``."""

    min_side: int
    detections: int = 0
    reason: str = ""
    sides: list[float] = field(default_factory=list)  # pixels, of the largest face
    _missed: int = 0
    _several: int = 0

    def add(self, frame: int, faces: list[Detection]) -> None:
        """The faces of the next frame."""
        self.detections += 1
        self._missed = 0 if faces else self._missed + 1
        self._several += len(faces) > 1
        if faces:
            self.sides.append(max(_side(face) for face in faces))
        if self._missed > _MISSES or (not faces and self.detections == 1):
            self.reason = f"no face: in frame {frame}"
        elif self._several > _SLIPS:
            self.reason = f"several faces: {len(faces)} in frame {frame}"
        elif len(self.sides) == _BATCH and self._too_small(max(self.sides)):
            self._refuse_size(max(self.sides))

    def finish(self) -> None:
        """There are no more frames."""
        if not self.reason and self._missed:
            self.reason = "no face: at the end"
        if not self.reason and self._too_small(self.side):
            self._refuse_size(self.side)

    @property
    def side(self) -> float:
        """Median, pixels."""
        return statistics.median(self.sides)

    def _too_small(self, side: float) -> bool:
        return side < self.min_side

    def _refuse_size(self, side: float) -> None:
        self.reason = f"small face: {int(side)} px where {self.min_side} are needed"  # 119.7 is not the 120 it lacks


def detection_frames(n_frames: int, stride: int) -> set[int]:
    """Numbers of the frames in which faces are detected: every ``stride``-th one and the last."""
    return {*range(0, n_frames, stride), n_frames - 1}


def detect_faces(frames: Iterable[Frame], n_frames: int, detector: FaceDetector, count: FaceCount) -> Detections:
    """Detections by frame number, in the ``frames`` of a clip that are given (``detection_frames``); ends early once
    ``count`` has a reason. All other frames get an empty list: tracking fills them in."""
    found: Detections = {}
    source = iter(frames)
    while batch := list(islice(source, _BATCH)):
        for frame, faces in zip(batch, detector.detect(batch), strict=True):
            found[frame.index] = faces
            count.add(frame.index, faces)
            if count.reason:
                return found
    count.finish()
    return {index: found.get(index, []) for index in range(n_frames)}


def track_one_shot(
    frames: Iterable[Frame], detections: Detections, detector: FaceDetector, stride: int
) -> Iterator[TrackedFrame]:
    """All frames of a clip of one shot with their faces, smoothed. Frames that ``detections`` do not know are given to
    the detector now."""
    settings = TrackingSettings(batch=_BATCH, max_gap=stride * (_MISSES + 1) - 1, one_shot=True)
    return track_faces(frames, detector, settings, known=detections)


def _side(face: Detection) -> float:
    """Shorter side of the box."""
    return float(np.min(face.box[2:] - face.box[:2]))

"""The faces of a clip: looked for in every n-th frame, known in all of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from latentsync.face.detections_file import Detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.tracking import TrackedFrame, TrackingSettings, track_faces
from latentsync.types import Frame

_BATCH = 8  # frames that are detected together
_MISSES = 1  # looks in a row at which the detector may miss a face that is there
_SLIPS = 1  # looks in all at which it may see a second face that is not


@dataclass
class FaceCount:
    """What the looks at a clip gave, as far as it has been looked at. ``reason`` as in ``Outcome``."""

    min_side: int
    looks: int = 0
    reason: str = ""
    sides: list[float] = field(default_factory=list)  # pixels, of the largest face
    _missed: int = 0
    _several: int = 0

    def add(self, frame: int, faces: list[Detection]) -> None:
        """The next look."""
        self.looks += 1
        self._missed = 0 if faces else self._missed + 1
        self._several += len(faces) > 1
        if faces:
            self.sides.append(max(_side(face) for face in faces))
        if self._missed > _MISSES or (not faces and self.looks == 1):
            self.reason = f"no face: in frame {frame}"
        elif self._several > _SLIPS:
            self.reason = f"several faces: {len(faces)} in frame {frame}"
        elif len(self.sides) == _BATCH and self._too_small(max(self.sides)):
            self._refuse_size(max(self.sides))

    def finish(self) -> None:
        """All looks are done."""
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


def looks(n_frames: int, stride: int) -> set[int]:
    """Numbers of the frames that are looked at: every ``stride``-th one and the last."""
    return {*range(0, n_frames, stride), n_frames - 1}


def look_at(frames: Iterable[Frame], n_frames: int, detector: FaceDetector, count: FaceCount) -> Detections:
    """Detections by frame number, in the ``frames`` of a clip that are given (``looks``); ends early once ``count``
    has a reason. All others count as looked at without a result: tracking fills them in."""
    found: Detections = {}
    source = iter(frames)
    while batch := list(islice(source, _BATCH)):
        for seen, faces in zip(batch, detector.detect(batch), strict=True):
            found[seen.index] = faces
            count.add(seen.index, faces)
            if count.reason:
                return found
    count.finish()
    return {index: found.get(index, []) for index in range(n_frames)}


def follow(
    frames: Iterable[Frame], detections: Detections, detector: FaceDetector, stride: int
) -> Iterator[TrackedFrame]:
    """All frames of a clip of one shot with their faces, smoothed. Frames that ``detections`` do not know are looked
    at now."""
    settings = TrackingSettings(batch=_BATCH, max_gap=stride * (_MISSES + 1) - 1, one_shot=True)
    return track_faces(frames, detector, settings, known=detections)


def _side(face: Detection) -> float:
    """Shorter side of the box."""
    return float(np.min(face.box[2:] - face.box[:2]))

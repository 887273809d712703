"""The people in a video, so that a user can choose whom to dub."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from latentsync.face.box import box_centre, longer_side
from latentsync.face.detector import Detection
from latentsync.face.selection import MIN_SCORE, MIN_SIZE
from latentsync.inference.faces import FaceFinder
from latentsync.inference.job.networks import Networks
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.video import VideoFile
from latentsync.runtime.device import choose_device
from latentsync.types import Frame

if TYPE_CHECKING:
    import torch

SAMPLED_FRAMES = 12
THUMBNAIL_SIDE = 160  # px
MARGIN = 1.6  # side of the thumbnail over the longer side of the face
REACH = 1.0  # face sizes between two detections that count as one person, at most
MAX_SIZE_RATIO = 1.8  # of the faces of two detections that count as one person


@dataclass(frozen=True, slots=True)
class Person:
    """A person at one place in the frame. ``choice``: the value of ``SyncOptions.face`` that chooses them.

    ``thumbnail`` (160, 160, 3) uint8 RGB; ``time`` of the first detection in seconds; ``share`` of the sampled frames
    that show the person, 0 to 1.
    """

    choice: str
    thumbnail: np.ndarray
    time: float
    share: float


@dataclass(slots=True)
class _Candidate:
    """The detections that count as one person: the first, the last, and a thumbnail of the clearest."""

    first: Detection
    time: float
    last: Detection
    count: int
    thumbnail: np.ndarray
    quality: float

    def person(self, frames: int) -> Person:
        x, y = box_centre(self.first.box)
        choice = f"{max(x, 0):.0f},{max(y, 0):.0f}@{self.time:.3f}"
        return Person(choice, self.thumbnail, self.time, self.count / frames)


def find_people(
    path: Path,
    weights: WeightPaths,
    detector: str = "auto",
    device: torch.device | str = "auto",
    limits: MediaLimits = GENEROUS,
    networks: Networks | None = None,
) -> list[Person]:
    """The people in a few frames spread over the video, from left to right; an empty list if there is nobody.

    Faces at about the same place and of about the same size count as one person, as in ``face.selection``. The
    detections are kept for the dub. Raises ``VideoError``, ``ConfigError``, ``DeviceError`` and the ``WeightsError``
    family.
    """
    if not limits.own_files:
        limits.check_video(path)
    video = VideoFile(path, limits=limits)
    finder = face_finder(video, weights, detector, device, networks)
    tracks = finder.tracks(video.info, SyncOptions())
    known = tracks.detections
    seen: list[_Candidate] = []
    frames = 0
    for frame in video.sample(SAMPLED_FRAMES):
        frames += 1
        if frame.index not in known and finder.detector is not None:
            known[frame.index] = finder.detector.detect([frame])[0]
        for face in known.get(frame.index, ()):
            if face.score >= MIN_SCORE and longer_side(face.box) >= MIN_SIZE:
                _add(seen, frame, face)
    tracks.save()
    return [each.person(frames) for each in sorted(seen, key=lambda each: box_centre(each.first.box)[0])]


def face_finder(
    video: VideoFile, weights: WeightPaths, detector: str, device: torch.device | str, networks: Networks | None = None
) -> FaceFinder:
    """What finds the faces of a video. Raises ``ConfigError``, ``DeviceError`` and the ``WeightsError`` family."""
    place = choose_device(device) if isinstance(device, str) else device
    load, aspect = (networks or Networks()).detector, video.info.sample_aspect_ratio
    return FaceFinder(detector, weights.auxiliary, place, StageClock(), load, aspect)


def _add(seen: list[_Candidate], frame: Frame, face: Detection) -> None:
    same = [person for person in seen if _is_same(person.last, face)]
    known = min(same, key=lambda person: _distance(person.last, face), default=None)
    quality = longer_side(face.box) * face.score
    if known is None:
        seen.append(_Candidate(face, float(frame.time), face, 1, thumbnail(frame.pixels, face.box), quality))
        return
    known.count, known.last = known.count + 1, face
    if quality > known.quality:
        known.quality, known.thumbnail = quality, thumbnail(frame.pixels, face.box)


def _is_same(before: Detection, now: Detection) -> bool:
    smaller, larger = sorted((longer_side(before.box), longer_side(now.box)))
    return _distance(before, now) <= REACH * smaller and larger <= MAX_SIZE_RATIO * smaller


def _distance(before: Detection, now: Detection) -> float:
    return math.dist(box_centre(before.box), box_centre(now.box))


def thumbnail(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(160, 160, 3) uint8: the face in a box (4,) with a margin; outside the frame its edge is repeated."""
    scale = THUMBNAIL_SIDE / (MARGIN * longer_side(box))
    x, y = box_centre(box).astype(float)
    half = THUMBNAIL_SIDE / 2
    matrix = np.array([[scale, 0, half - scale * x], [0, scale, half - scale * y]])
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return cv2.warpAffine(pixels, matrix, side, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)

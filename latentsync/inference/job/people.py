"""The people in a video: a look at some frames, so that a user can choose whom to dub, or at all of them: who is there,
when each is seen, and how large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from latentsync.face.appearance import BY_LOOKS
from latentsync.face.box import box_centre, longer_side
from latentsync.face.detector import Detection
from latentsync.face.identity import SAME_PLACE_DIFFERENCE
from latentsync.face.selection import MIN_SCORE, MIN_SIZE, FaceChoice
from latentsync.face.tracks import PeopleFrame
from latentsync.inference.faces import FaceFinder
from latentsync.inference.job.networks import Networks
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.timeline import frame_spacing
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.video import VideoFile
from latentsync.runtime.device import choose_device
from latentsync.stream import prefetch
from latentsync.types import FaceObservation, Frame

if TYPE_CHECKING:
    import torch


SAMPLED_FRAMES = 12
THUMBNAIL_SIDE = 160  # px
MARGIN = 1.6  # side of the thumbnail over the longer side of the face
REACH = 1.0  # face sizes between two detections that are at one place, at most
MAX_SIZE_RATIO = 1.8  # of the faces of two detections that are at one place
DIFFERENCE = 1.0  # of looks at which two faces count as one person, wherever they are
MOST_VIEWS = 6  # of a person
FIRST_INTERVAL = Fraction(1)  # s between two views, as long as they are few
SHORT_GAP = Fraction(1, 2)  # s that do not end a stretch
LEAST_FRAMES = 5  # with a face that is large and certain enough: less is no person


@dataclass(frozen=True, slots=True)
class Person:
    """A person in the video. ``choice``: the value of ``SyncOptions.face`` that chooses them.

    ``thumbnail`` (160, 160, 3) uint8 RGB; ``time`` of the first detection in seconds; ``share`` of the sampled frames
    that show the person, 0 to 1.
    """

    choice: str
    thumbnail: np.ndarray
    time: float
    share: float


@dataclass(slots=True, eq=False)
class _Candidate:
    """The detections that count as one person: the first, the last, the looks of all, a thumbnail of the clearest."""

    first: Detection
    time: float
    last: Detection
    looks: list[np.ndarray]
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

    Faces that look alike (``face.appearance``) count as one person, wherever they are, and at one place those that do
    not look very different; two in one frame never do. The detections are kept for the dub. Raises ``VideoError``,
    ``ConfigError``, ``DeviceError`` and the ``WeightsError`` family.
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
        _add(seen, frame, known.get(frame.index, ()))
    tracks.save()
    return [each.person(frames) for each in sorted(seen, key=lambda each: box_centre(each.first.box)[0])]


def face_finder(
    video: VideoFile, weights: WeightPaths, detector: str, device: torch.device | str, networks: Networks | None = None
) -> FaceFinder:
    """What finds the faces of a video. Raises ``ConfigError``, ``DeviceError`` and the ``WeightsError`` family."""
    place = choose_device(device) if isinstance(device, str) else device
    load, aspect = (networks or Networks()).detector, video.info.sample_aspect_ratio
    return FaceFinder(detector, weights.auxiliary, place, StageClock(), load, aspect)


def _add(seen: list[_Candidate], frame: Frame, found: Sequence[Detection]) -> None:
    """Take in the faces of a frame that are large and certain enough."""
    faces = [face for face in found if face.score >= MIN_SCORE and longer_side(face.box) >= MIN_SIZE]
    if not faces:
        return
    free = list(seen)
    looks = BY_LOOKS.embed(frame, [face.landmarks for face in faces], [face.landmarks for face in found])
    for face, look in zip(faces, looks, strict=True):
        alike = [person for person in free if _is_same(person, face, look)]
        known = min(alike, key=lambda person: _distance(person.last, face), default=None)
        quality = longer_side(face.box) * face.score
        if known is None:
            image = thumbnail(frame.pixels, face.box)
            seen.append(_Candidate(face, float(frame.time), face, [look], 1, image, quality))
            continue
        free.remove(known)
        known.count, known.last = known.count + 1, face
        known.looks.append(look)
        if quality > known.quality:
            known.quality, known.thumbnail = quality, thumbnail(frame.pixels, face.box)


def _is_same(person: _Candidate, face: Detection, look: np.ndarray) -> bool:
    smaller, larger = sorted((longer_side(person.last.box), longer_side(face.box)))
    at_one_place = _distance(person.last, face) <= REACH * smaller and larger <= MAX_SIZE_RATIO * smaller
    difference = BY_LOOKS.differences(look[None], np.stack(person.looks)).min()
    return bool(difference <= (SAME_PLACE_DIFFERENCE if at_one_place else DIFFERENCE))


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


@dataclass(frozen=True, slots=True)
class View:
    """A face at ``time`` seconds: its ``box`` (4,) in frame pixels, and an image (160, 160, 3) uint8 RGB of it."""

    time: Fraction
    box: np.ndarray
    image: np.ndarray


@dataclass(slots=True)
class VideoPerson:
    """A person in a video.

    ``stretches``: seconds from and to which they are seen; ``frames`` with their face, which is from ``smallest`` to
    ``largest`` px on its longer side; ``views`` spread over the video; ``clearest``: the largest and most certain one.
    """

    stretches: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    frames: int = 0
    smallest: float = np.inf
    largest: float = 0.0
    views: list[View] = field(default_factory=list)
    clearest: View | None = None
    _quality: float = 0.0
    _interval: Fraction = FIRST_INTERVAL

    @property
    def choice(self) -> str:
        """The value of ``SyncOptions.face`` that names them."""
        assert self.clearest is not None
        x, y = box_centre(self.clearest.box)
        return f"{max(x, 0):.0f},{max(y, 0):.0f}@{float(self.clearest.time):.3f}"

    @property
    def seconds(self) -> Fraction:
        """How long they are seen, all in all."""
        return sum((stop - start for start, stop in self.stretches), Fraction(0))

    def see(self, item: PeopleFrame, face: FaceObservation, spacing: Fraction) -> None:
        """Take in the next frame that shows them; frames follow each other after ``spacing`` seconds."""
        time, size = item.frame.time, longer_side(face.box)
        if self.stretches and time - self.stretches[-1][1] <= SHORT_GAP:
            self.stretches[-1] = (self.stretches[-1][0], time + spacing)
        else:
            self.stretches.append((time, time + spacing))
        self.frames += 1
        self.smallest, self.largest = min(self.smallest, size), max(self.largest, size)
        if size * face.score > 1.05 * self._quality:
            self._quality = size * face.score
            self.clearest = View(time, face.box, thumbnail(item.frame.pixels, face.box))
        if not self.views or time - self.views[-1].time >= self._interval:
            self.views.append(View(time, face.box, thumbnail(item.frame.pixels, face.box)))
            if len(self.views) > MOST_VIEWS:
                self.views, self._interval = self.views[::2], self._interval * 2

    def to_dict(self, number: int, frames: int) -> dict[str, Any]:
        """Plain values, for JSON; ``frames`` of the whole video."""
        return {
            "person": number,
            "face": self.choice,
            "first_seconds": float(self.stretches[0][0]),
            "share_of_frames": self.frames / frames,
            "stretches": [[round(float(start), 3), round(float(stop), 3)] for start, stop in self.stretches],
            "face_pixels": {"smallest": round(self.smallest), "largest": round(self.largest)},
            "faces": [
                {"seconds": round(float(view.time), 3), "box": [round(float(v), 1) for v in view.box]}
                for view in self.views
            ],
        }


@dataclass(frozen=True, slots=True)
class VideoPeople:
    """Everybody in a video of ``frames`` frames, in the order in which they appear. ``named``: a choice -> the place
    among the ``members`` of the person whom it names."""

    members: tuple[VideoPerson, ...]
    frames: int
    named: Mapping[str, int] = field(default_factory=dict)


def find_everybody(
    path: Path,
    weights: WeightPaths,
    detector: str = "auto",
    device: torch.device | str = "auto",
    options: SyncOptions | None = None,
    limits: MediaLimits = GENEROUS,
    networks: Networks | None = None,
    named: Sequence[str] = (),
    on_frame: Callable[[int, int], None] = lambda number, frames: None,
) -> VideoPeople:
    """Everybody in a video, by all of its frames; ``options.face_network`` counts. The detections are kept for the dub.

    ``named``: choices by a point, of which the result says whom they mean. ``on_frame`` is told of each frame, and of
    how many there are; what it raises ends the look. Raises ``VideoError``, ``ConfigError``, ``DeviceError`` and the
    ``WeightsError`` family.
    """
    if not limits.own_files:
        limits.check_video(path)
    video = VideoFile(path, limits=limits)
    tracks = face_finder(video, weights, detector, device, networks).tracks(video.info, options or SyncOptions())
    members: dict[int, VideoPerson] = {}
    sought, found = {choice: FaceChoice.parse(choice) for choice in named}, dict[str, int]()
    frames = 0
    with closing(tracks.people(prefetch(video.frames()))) as people:
        for item in people:
            on_frame(frames, video.info.n_frames)
            frames += 1
            for number, face in _usable(item):
                members.setdefault(number, VideoPerson()).see(item, face, frame_spacing(video.info))
            for choice in [each for each in sought if item.faces and sought[each].time <= item.frame.time]:
                found[choice] = _nearest(item, sought.pop(choice))
    tracks.save()
    kept = [number for number, member in sorted(members.items()) if member.frames >= LEAST_FRAMES]
    places = {choice: kept.index(number) for choice, number in found.items() if number in kept}
    return VideoPeople(tuple(members[number] for number in kept), frames, places)


def _nearest(item: PeopleFrame, choice: FaceChoice) -> int:
    """Whose face is nearest to the point of a choice."""
    point = choice.point or (0.0, 0.0)
    return min(item.faces, key=lambda number: math.dist(box_centre(item.faces[number].box), point))


def _usable(item: PeopleFrame) -> Iterator[tuple[int, FaceObservation]]:
    for number, face in item.faces.items():
        if face.score >= MIN_SCORE and longer_side(face.box) >= MIN_SIZE:
            yield number, face

"""Which face is dubbed: one of all faces, chosen once and then followed.

| choice     | meaning                                                                                         |
|------------|-------------------------------------------------------------------------------------------------|
| `largest`  | the face that fills most of the frame over the next frames                                      |
| `index:N`  | the N-th face from the left, counted from 0; none if there are fewer                            |
| `X,Y@T`    | the face nearest to the point (X, Y) in pixels of the frame at T seconds (`@T` may be left out: |
|            | 0)                                                                                              |
| `FILE`     | the person of a photograph: .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff                         |
| `speaking` | whoever speaks                                                                                  |

Where people are known (``PersonFollower``), a choice names a person, for the whole video: another face never takes
their place, and while they cannot be seen, nobody is dubbed. `largest` names nobody: its person goes before all others,
but in a shot that has not shown them the largest face is taken. Where only tracks are known (``_Follower``), the choice
is made anew in the next shot, and within a shot after the track has been gone for more than ``PATIENCE`` frames.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from latentsync.errors import ConfigError
from latentsync.face.box import box_centre, box_size, longer_side
from latentsync.face.detector import Detection
from latentsync.face.identity import PeopleFrame
from latentsync.face.tracking import TrackedFrame
from latentsync.types import FaceObservation, Frame

LARGEST = "largest"  # the default
SPEAKING = "speaking"
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
LOOK_AHEAD = 8  # frames after its own that a choice looks at
PATIENCE = 25  # frames that a chosen track may be gone
MIN_SIZE = 32.0  # px of the box's longer side; in a smaller face the mouth is too small to dub
MIN_SCORE = 0.5

NO_FACE = "no face"
OTHER_FACE = "not the chosen face"
TOO_SMALL = "face too small"
LOW_SCORE = "face uncertain"

NUMBER = r"(\d+(?:\.\d+)?)"
POINT = re.compile(rf"{NUMBER},{NUMBER}(?:@{NUMBER})?")
INDEX = re.compile(r"index:(\d+)")


@dataclass(frozen=True, slots=True)
class TargetFrame:
    """A frame with the face to dub, or None and the ``reason`` why there is none. ``confidence`` in [0, 1] that the
    face can be dubbed as it is seen (``face.visibility``)."""

    frame: Frame
    face: FaceObservation | None
    shot: int
    reason: str = ""
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """A parsed choice; without ``index``, ``point``, ``photo`` and ``speaking`` it is the largest face. ``time`` in
    seconds."""

    index: int | None = None
    point: tuple[float, float] | None = None
    time: Fraction = Fraction(0)
    photo: Path | None = None
    speaking: bool = False

    @property
    def names(self) -> bool:
        """Whether it means one person, and nobody else."""
        return self.index is not None or self.point is not None or self.photo is not None

    @classmethod
    def parse(cls, text: str) -> FaceChoice:
        """From the syntax in this module's docstring. Raises ``ConfigError`` for anything else."""
        if text in (LARGEST, SPEAKING):
            return cls(speaking=text == SPEAKING)
        if match := INDEX.fullmatch(text):
            return cls(index=int(match[1]))
        if match := POINT.fullmatch(text.replace(" ", "")):
            return cls(point=(float(match[1]), float(match[2])), time=Fraction(match[3] or 0))
        if Path(text).suffix.lower() in PHOTO_SUFFIXES:
            return cls(photo=Path(text))
        raise ConfigError(
            f"{text!r} does not say which face to follow.",
            remedy="Use 'largest', 'speaking', 'index:0', 'X,Y@SECONDS' or a photograph.",
        )


class Follower(Protocol):
    """Says from frame to frame which face is followed."""

    def chosen(self, item: PeopleFrame, ahead: Iterable[PeopleFrame]) -> int | None:
        """Its number in ``item.faces``; ``ahead``: the next frames. None: nobody."""
        ...


class FaceSelector:
    """Picks the followed face out of a stream of frames.

    Raises ``ConfigError`` for `speaking`: that is several people in turn (``inference.job.speakers``).
    """

    def __init__(self, choice: FaceChoice | str = "largest", min_size: float = MIN_SIZE) -> None:
        self.choice = FaceChoice.parse(choice) if isinstance(choice, str) else choice
        self.min_size = min_size
        if self.choice.speaking:
            raise ConfigError(
                "Who speaks is found out for the dub of a whole video only.",
                remedy="Name the person: 'index:0', 'X,Y@SECONDS'.",
            )

    def select(self, tracked: Iterable[TrackedFrame]) -> Iterator[TargetFrame]:
        """One ``TargetFrame`` for each frame, in order, at most ``LOOK_AHEAD`` frames later; the numbers are those of
        tracks, and nothing is kept between two calls."""
        if self.choice.photo is not None:
            raise ConfigError(
                f"{self.choice.photo}: nobody is known by a photograph here, tracks have no people.",
                remedy="Name the person by 'X,Y@SECONDS', or leave out --compat.",
            )
        items = (PeopleFrame(i.frame, {face.track_id: face for face in i.faces}, i.shot) for i in tracked)
        return self.follow(items, _Follower(self.choice))

    def follow(self, people: Iterable[PeopleFrame], follower: Follower) -> Iterator[TargetFrame]:
        """As ``select``, of whom ``follower`` chooses."""
        window: deque[PeopleFrame] = deque()
        for item in people:
            window.append(item)
            if len(window) > LOOK_AHEAD:
                yield self._target(window.popleft(), follower, window)
        while window:
            yield self._target(window.popleft(), follower, window)

    def _target(self, item: PeopleFrame, follower: Follower, ahead: Iterable[PeopleFrame]) -> TargetFrame:
        number = follower.chosen(item, [other for other in ahead if other.shot == item.shot])
        face = None if number is None else item.faces.get(number)
        reason = ""
        if face is None:
            reason = OTHER_FACE if item.faces else NO_FACE
        elif longer_side(face.box) < self.min_size:
            reason = TOO_SMALL
        elif face.score < MIN_SCORE:
            reason = LOW_SCORE
        return TargetFrame(item.frame, None if reason else face, item.shot, reason)


class PersonFollower:
    """The chosen person, by their number; see the module.

    ``person``: who was chosen, None until then. It may be set beforehand (``FaceTracks.introduce``).
    """

    def __init__(self, choice: FaceChoice) -> None:
        self.person: int | None = None
        self._choice = choice
        self._shot: int | None = None
        self._instead: int | None = None  # in this shot, as long as it does not show the person

    def chosen(self, item: PeopleFrame, ahead: Iterable[PeopleFrame]) -> int | None:
        """See ``Follower``."""
        items = [item, *ahead]
        if self.person is None and item.frame.time >= self._choice.time:
            self.person = _choose(self._choice, items)
        if self._choice.names or self.person is None:
            return self.person
        if item.shot != self._shot:
            self._shot, self._instead = item.shot, None
            if not any(self.person in other.faces for other in items):
                self._instead = _choose(self._choice, items)
        if self.person in item.faces:
            self._instead = None
        return self.person if self._instead is None else self._instead


class _Follower:
    """The chosen track from frame to frame."""

    def __init__(self, choice: FaceChoice) -> None:
        self._choice = choice
        self._shot: int | None = None
        self._track: int | None = None
        self._gone = 0
        self._time_passed = choice.time <= 0

    def chosen(self, item: PeopleFrame, ahead: Iterable[PeopleFrame]) -> int | None:
        """See ``Follower``."""
        self._gone = 0 if self._track in item.faces else self._gone + 1
        due = not self._time_passed and item.frame.time >= self._choice.time
        if due:
            self._time_passed = True
        if item.shot != self._shot or self._gone > PATIENCE or due:
            self._shot, self._track = item.shot, None
        if self._track is None:
            self._track = _choose(self._choice, [item, *ahead])
            self._gone = 0
        return self._track


def _choose(choice: FaceChoice, items: list[PeopleFrame]) -> int | None:
    """The number that a choice means in consecutive frames of one shot."""
    faces: dict[int, list[FaceObservation]] = {}
    for number, face in (pair for item in items for pair in item.faces.items()):
        faces.setdefault(number, []).append(face)
    if not faces:
        return None
    if choice.index is not None:
        ordered = sorted(faces, key=lambda number: median(box_centre(face.box)[0] for face in faces[number]))
        return ordered[choice.index] if choice.index < len(ordered) else None
    if choice.point is not None:
        point = np.array(choice.point)
        return min(faces, key=lambda number: math.dist(box_centre(faces[number][0].box), point))

    def area(number: int) -> float:  # median of the box, times the frames that show it
        return median(float(box_size(face.box).prod()) for face in faces[number]) * len(faces[number])

    return max(faces, key=area)


def is_usable(face: Detection) -> bool:
    """Whether a detection is large and certain enough to be dubbed, if it is chosen."""
    return longer_side(face.box) >= MIN_SIZE and face.score >= MIN_SCORE

"""Which face is dubbed: one of all faces, chosen at the start of a shot and then followed.

| choice    | meaning                                                                                          |
|-----------|--------------------------------------------------------------------------------------------------|
| `largest` | the face that fills most of the frame over the next frames                                       |
| `index:N` | the N-th face from the left, counted from 0; none if there are fewer                             |
| `X,Y@T`   | the face nearest to the point (X, Y) in pixels of the frame; chosen anew at T seconds (`@T`      |
|           | may be left out: 0)                                                                              |

The chosen track is followed. The choice is made anew in the next shot, and within a shot after the track has been gone
for more than ``PATIENCE`` frames.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

import numpy as np

from latentsync.errors import ConfigError
from latentsync.face.box import box_centre, box_size, longer_side
from latentsync.face.detector import Detection
from latentsync.face.tracking import TrackedFrame
from latentsync.types import FaceObservation, Frame

LARGEST = "largest"  # the default
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
    """A parsed choice; without ``index`` and ``point`` it is the largest face. ``time`` in seconds."""

    index: int | None = None
    point: tuple[float, float] | None = None
    time: Fraction = Fraction(0)

    @classmethod
    def parse(cls, text: str) -> FaceChoice:
        """From the syntax in this module's docstring. Raises ``ConfigError`` for anything else."""
        if text == LARGEST:
            return cls()
        if match := INDEX.fullmatch(text):
            return cls(index=int(match[1]))
        if match := POINT.fullmatch(text.replace(" ", "")):
            return cls(point=(float(match[1]), float(match[2])), time=Fraction(match[3] or 0))
        raise ConfigError(
            f"{text!r} does not say which face to follow.", remedy="Use 'largest', 'index:0' or 'X,Y@SECONDS'."
        )


class FaceSelector:
    """Follows one face through a stream of tracked frames; nothing is kept between two calls of ``select``."""

    def __init__(self, choice: FaceChoice | str = "largest", min_size: float = MIN_SIZE) -> None:
        self.choice = FaceChoice.parse(choice) if isinstance(choice, str) else choice
        self.min_size = min_size

    def select(self, tracked: Iterable[TrackedFrame]) -> Iterator[TargetFrame]:
        """One ``TargetFrame`` for each frame, in order, at most ``LOOK_AHEAD`` frames later."""
        follower = _Follower(self.choice)
        window: deque[TrackedFrame] = deque()
        for item in tracked:
            window.append(item)
            if len(window) > LOOK_AHEAD:
                yield self._target(window.popleft(), follower, window)
        while window:
            yield self._target(window.popleft(), follower, window)

    def _target(self, item: TrackedFrame, follower: _Follower, ahead: Iterable[TrackedFrame]) -> TargetFrame:
        track = follower.track(item, ahead)
        face = next((face for face in item.faces if face.track_id == track), None)
        reason = ""
        if face is None:
            reason = OTHER_FACE if item.faces else NO_FACE
        elif longer_side(face.box) < self.min_size:
            reason = TOO_SMALL
        elif face.score < MIN_SCORE:
            reason = LOW_SCORE
        return TargetFrame(item.frame, None if reason else face, item.shot, reason)


class _Follower:
    """The chosen track from frame to frame."""

    def __init__(self, choice: FaceChoice) -> None:
        self._choice = choice
        self._shot: int | None = None
        self._track: int | None = None
        self._gone = 0
        self._time_passed = choice.time <= 0

    def track(self, item: TrackedFrame, ahead: Iterable[TrackedFrame]) -> int | None:
        present = any(face.track_id == self._track for face in item.faces)
        self._gone = 0 if present else self._gone + 1
        due = not self._time_passed and item.frame.time >= self._choice.time
        if due:
            self._time_passed = True
        if item.shot != self._shot or self._gone > PATIENCE or due:
            self._shot, self._track = item.shot, None
        if self._track is None:
            self._track = self._choose([item, *(other for other in ahead if other.shot == item.shot)])
            self._gone = 0
        return self._track

    def _choose(self, items: list[TrackedFrame]) -> int | None:
        tracks: dict[int, list[FaceObservation]] = {}
        for face in (face for item in items for face in item.faces):
            tracks.setdefault(face.track_id, []).append(face)
        if not tracks:
            return None
        if self._choice.index is not None:
            ordered = sorted(tracks, key=lambda number: median(box_centre(face.box)[0] for face in tracks[number]))
            return ordered[self._choice.index] if self._choice.index < len(ordered) else None
        if self._choice.point is not None:
            point = np.array(self._choice.point)
            return min(tracks, key=lambda number: math.dist(box_centre(tracks[number][0].box), point))

        def area(number: int) -> float:  # median of the box, times the frames that show it
            return median(float(box_size(face.box).prod()) for face in tracks[number]) * len(tracks[number])

        return max(tracks, key=area)


def is_usable(face: Detection) -> bool:
    """Whether a detection is large and certain enough to be dubbed, if it is chosen."""
    return longer_side(face.box) >= MIN_SIZE and face.score >= MIN_SCORE

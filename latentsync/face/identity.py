"""Who is who: the people of a video, each with a number that stays theirs across gaps, crossings, cuts and shots.

A *piece* is a part of a track in which the face is either free or touches another one. Free pieces are named by what
they look like (``appearance``), all that begin together at once, so that two never get one number; where looks leave a
doubt, the place where somebody was last seen decides. A piece in which faces touch keeps the name of the piece before
it, because there each may show a part of the other; after it, the looks are asked again. A face that was gone and comes
back touching another one has no name until it is free: somebody else may have come out from behind that one. A face
that fits nobody is a new person. A track whose looks come to fit its name no longer (a dissolve, a missed cut) is named
again.

Names depend on frames before and on ``NAMING_AHEAD`` frames after. Memory does not grow with the length of a video, and
is bounded in the number of people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from latentsync.face.appearance import FaceEmbedder
from latentsync.face.association import COAST_FRAMES, assign
from latentsync.face.box import box_centre, box_size, longer_side
from latentsync.face.tracking import TrackedFrame
from latentsync.types import FaceObservation, Frame

NAMING_AHEAD = 8  # frames after its own that a name looks at
LOOKS = 5  # that a name is taken from, if there are as many
LOOK_AGAIN = 10  # frames between two looks at somebody who has a name
MAX_VIEWS = 12  # looks that are kept of a person
NEW_VIEW = 0.35  # difference from those that are kept, at which another one is
MAX_PEOPLE = 200  # that are remembered
TOUCHING = 0.08  # share of the smaller of two boxes that lies in the other
PATIENCE = 25  # frames that touching faces without a name wait to be free
HIDDEN = 5  # frames after which a face that comes back touching another one may be of somebody else who hid behind it
DOUBT = 1.6  # difference from the own looks, twice in a row, at which a name is given up for another one that fits,
STRONG_DOUBT = 2.2  # and at which it is given up in any case
PLACE_WEIGHT = 0.3  # of where somebody was last seen in this shot, against looks
PLACE_WEIGHT_BEFORE = 0.05  # the same, of the shot before
SAME_PLACE = 0.12  # face sizes between two frames: nobody else is so near, even where a flash looks like a cut
SAME_PLACE_DIFFERENCE = 1.4  # of looks that is allowed there
_REFUSED = 1e6


@dataclass(frozen=True, slots=True)
class PeopleFrame:
    """A frame with the face of every person that it shows. ``shot`` counts from 0.

    ``faces``: number of the person -> the face. The numbers count from 0 in the order in which people appear, and a
    person keeps theirs through the whole video. ``FaceObservation.track_id`` is another number: that of one unbroken
    track. A face that cannot be told yet, because it has only been seen touching another one, is left out.
    """

    frame: Frame
    faces: Mapping[int, FaceObservation]
    shot: int


@dataclass(slots=True)
class Person:
    """What is remembered of a person. ``views`` (n, D): looks that differ from each other; the first one stays.

    ``box`` (4,), ``position`` and ``shot``: where and when they were last seen.
    """

    number: int
    views: np.ndarray
    box: np.ndarray
    position: int
    shot: int
    frames: int = 0

    def learn(self, look: np.ndarray, difference: float) -> None:
        """Remember a look that is so different from those that are known."""
        if difference < NEW_VIEW:
            return
        if len(self.views) >= MAX_VIEWS:
            self.views = np.delete(self.views, 1, axis=0)
        self.views = np.concatenate([self.views, look[None]])


@dataclass(slots=True)
class _Piece:
    """A part of a track; see the module. ``looks``: (position, look); ``doubts``: looks in a row that do not fit."""

    free: bool
    started: int
    seen: int  # position of its last frame
    before: _Piece | None = None
    person: int | None = None
    looks: list[tuple[int, np.ndarray]] = field(default_factory=list)
    doubts: int = 0


@dataclass(slots=True)
class _Waiting:
    item: TrackedFrame
    position: int
    pieces: dict[int, _Piece]  # by track


class People:
    """Everybody who has been seen in a video, and who is who in its next frames."""

    def __init__(self, embedder: FaceEmbedder) -> None:
        self.known: dict[int, Person] = {}
        self._embedder = embedder
        self._next = 0
        self._position = 0  # of the next frame, over all calls of ``name``

    def name(self, tracked: Iterable[TrackedFrame]) -> Iterator[PeopleFrame]:
        """One ``PeopleFrame`` for each frame, in order, at most ``NAMING_AHEAD`` frames later.

        A further call goes on with the same people; their tracks are others.
        """
        window: deque[_Waiting] = deque()
        pieces: dict[int, _Piece] = {}
        for item in tracked:
            window.append(self._enter(item, pieces))
            if len(window) > NAMING_AHEAD:
                yield self._leave(window)
        while window:
            yield self._leave(window)

    def difference(self, person: Person, looks: np.ndarray) -> float:
        """Median over ``looks`` (n, D) of that from the view of the person that comes nearest."""
        return float(np.median(self._embedder.differences(looks, person.views).min(axis=1)))

    def _enter(self, item: TrackedFrame, pieces: dict[int, _Piece]) -> _Waiting:
        """Look at the faces of a frame that comes into the window; ``pieces``: the last ones of all tracks.

        Faces that touch in the first frame of all are looked at as they are: nobody is known whom they could be.
        """
        position = self._position
        self._position += 1
        for track in [track for track, piece in pieces.items() if position - piece.seen > COAST_FRAMES + 1]:
            del pieces[track]  # the track has ended
        waiting = _Waiting(item, position, {})
        due = []
        for face in item.faces:
            free = position == 0 or not any(_touch(face, other) for other in item.faces if other is not face)
            piece = _continued(pieces.get(face.track_id), free, position)
            pieces[face.track_id] = waiting.pieces[face.track_id] = piece
            if piece.free and _is_due(piece, position):
                due.append((face, piece))
        if due:
            beside = [face.landmarks for face in item.faces]
            looks = self._embedder.embed(item.frame, [face.landmarks for face, _ in due], beside)
            for (_, piece), look in zip(due, looks, strict=True):
                piece.looks.append((position, look))
        return waiting

    def _leave(self, window: deque[_Waiting]) -> PeopleFrame:
        """Name the faces of the oldest frame."""
        oldest = window.popleft()
        item, pieces = oldest.item, oldest.pieces
        faces = {face.track_id: face for face in item.faces}
        for piece in pieces.values():
            self._look_again(piece, oldest.position)
        taken = {piece.person for waiting in (oldest, *window) for piece in waiting.pieces.values()} - {None}
        for piece in pieces.values():
            inherited = None
            if piece.before is not None:
                inherited, piece.before.before = piece.before.person, None
            if piece.person is None and not piece.free and inherited is not None and inherited not in taken:
                piece.person = inherited
                taken.add(inherited)
        unnamed = {track: piece for track, piece in pieces.items() if piece.person is None and piece.looks}
        if unnamed:
            self._name(unnamed, faces, taken, oldest)
        found: dict[int, FaceObservation] = {}
        for track, piece in pieces.items():
            if piece.person is not None and piece.person not in found:
                found[piece.person] = faces[track]
                person = self.known.get(piece.person)
                if person is not None:
                    person.box, person.position, person.shot = faces[track].box, oldest.position, item.shot
                    person.frames += 1
        return PeopleFrame(item.frame, dict(sorted(found.items())), item.shot)

    def _look_again(self, piece: _Piece, position: int) -> None:
        """Learn the looks of a piece with a name up to ``position``, or give the name up."""
        person = self.known.get(-1 if piece.person is None else piece.person)
        if person is None:
            return
        while piece.looks and piece.looks[0][0] <= position:
            _, look = piece.looks.pop(0)
            difference = self.difference(person, look[None])
            piece.doubts = piece.doubts + 1 if self._is_doubtful(person, look, difference) else 0
            if piece.doubts >= 2:
                piece.person, piece.before, piece.doubts = None, None, 0
                piece.looks.insert(0, (position, look))
                return
            if difference <= DOUBT:
                person.learn(look, difference)

    def _is_doubtful(self, person: Person, look: np.ndarray, difference: float) -> bool:
        if difference <= DOUBT:
            return False
        others = (other for other in self.known.values() if other is not person)
        return difference > STRONG_DOUBT or any(self.difference(other, look[None]) <= 1 for other in others)

    def _name(
        self,
        unnamed: dict[int, _Piece],
        faces: Mapping[int, FaceObservation],
        taken: set[int | None],
        oldest: _Waiting,
    ) -> None:
        """Name pieces, all at once: the people that they fit best, or new ones."""
        candidates = [person for number, person in self.known.items() if number not in taken]
        order = sorted(unnamed, key=lambda track: box_centre(faces[track].box)[0])  # new people count from the left
        looks = {track: np.array([look for _, look in unnamed[track].looks[:LOOKS]]) for track in order}
        if candidates:
            costs = np.array([
                [self._cost(person, faces[track], looks[track], oldest, unnamed[track]) for person in candidates]
                for track in order
            ])  # fmt: skip
            for row, column in assign(costs):
                if costs[row, column] < _REFUSED:
                    unnamed[order[row]].person = candidates[column].number
        for track in order:
            piece = unnamed[track]
            if piece.person is None:
                piece.person = self._new_person(looks[track], faces[track], oldest)

    def _cost(self, person: Person, face: FaceObservation, looks: np.ndarray, oldest: _Waiting, piece: _Piece) -> float:
        difference = self.difference(person, looks)
        distance = _distance(person.box, face.box)
        allowed = 1.0
        if oldest.position - person.position <= 2 and distance < SAME_PLACE:
            allowed = SAME_PLACE_DIFFERENCE
        if difference > allowed:
            return _REFUSED
        here = person.shot == oldest.item.shot
        weight = PLACE_WEIGHT if here else PLACE_WEIGHT_BEFORE
        own = piece.before is not None and piece.before.person == person.number
        return difference + weight * (0.0 if own else min(distance / 4, 1.0))

    def _new_person(self, looks: np.ndarray, face: FaceObservation, oldest: _Waiting) -> int:
        number = self._next
        self._next += 1
        middle = np.median(looks, axis=0)
        self.known[number] = Person(number, middle[None], face.box, oldest.position, oldest.item.shot)
        if len(self.known) > MAX_PEOPLE:
            gone = [each for each in self.known.values() if each.position < oldest.position]
            del self.known[min(gone, key=lambda each: each.frames).number]
        return number


def _continued(last: _Piece | None, free: bool, position: int) -> _Piece:
    """The piece of a track in frame ``position``: its ``last`` one goes on, or another begins."""
    if last is None:
        return _Piece(free, position, position)
    if not free and not last.free and last.person is None and position - last.started > PATIENCE:
        free = True  # they touch for so long that nothing better will come
    if not free and position > last.seen + HIDDEN:
        return _Piece(free, position, position)
    if last.free != free or position > last.seen + 1:
        return _Piece(free, position, position, last)
    last.seen = position
    return last


def _is_due(piece: _Piece, position: int) -> bool:
    if piece.person is None and len(piece.looks) < LOOKS:
        return True
    return not piece.looks or position - piece.looks[-1][0] >= LOOK_AGAIN


def _touch(face: FaceObservation, other: FaceObservation) -> bool:
    sides = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    if sides.min() <= 0:
        return False
    return float(sides.prod()) > TOUCHING * min(float(box_size(each.box).prod()) for each in (face, other))


def _distance(before: np.ndarray, now: np.ndarray) -> float:
    """Between two boxes (4,), in face sizes: of their middles, and the logarithm of the ratio of their sizes."""
    sizes = longer_side(before), longer_side(now)
    apart = float(np.linalg.norm(box_centre(before) - box_centre(now))) / max(min(sizes), 1.0)
    return apart + abs(float(np.log(max(sizes[0], 1.0) / max(sizes[1], 1.0))))

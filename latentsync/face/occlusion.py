"""Things before a face, found on the canvas without a network: what the same face did not show a moment ago.

Every aligned face becomes a ``Look``. A cell of it is new where its color lies outside the range of most of the looks
before it that showed no thing (the sample-based background model of Barnich & Van Droogenbroeck 2011, "ViBe", on a
canvas that moves with the face); light that changes as a whole is taken out by the color of the nose. Four signs count,
and each must last:

- new color over a part of the cheeks, jaw or chin. Lips never count: teeth, tongue and a dark open mouth come and go;
- a hue that no skin, beard or shadow of this person has: off the line from the color of the nose to grey;
- new color with a sharp edge that comes in from below the face and reaches the lips, while the rest of the face looks
  as before: a microphone, which covers little but the lips and may be as dark as the skin. Shading has no such edge;
- the base of the nose, which hardly moves, looks unlike itself: a hand, which has the color of the face.

The first three give the cells, with what lies between them; the last covers the whole lower face, since a
hand before the nose is before the mouth, and below its highest row a hand that comes or goes. A thing is followed from
the frames that show it well to those before and after, and ends where nothing of it is seen. Each sign needs much to
speak, so a thing may be missed: one of the color of skin or beard that leaves the nose free, or one that was there from
the start and not vivid.

Things are solid and have few colors. What lies between the parts of a thing and has its color belongs to it, as do new
parts of that color elsewhere; and where a thing is followed, only what has the colors of where it is shown well counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from latentsync.face.look import ROWS, SIDE, BentLook, Look, filled, hull

STEP, LOOKS = 12, 12  # a look is kept of every 12th frame without a thing, the last 12 of them
LEAST_LOOKS = 3  # so nothing but vivid hues is found in the first 24 frames of a shot
ALREADY = 0.35  # share of the kept looks that may resemble a cell before it counts as seen
CERTAIN, LIKELY, FAINT = 24, 10, 5  # grey levels outside the range: of a cell that raises an alarm; that belongs to a
# thing; that belongs to a hand
ENTERING = 8  # grey levels outside the range of a cell that may belong to a thing that comes in from below
VIVID = 26.0  # chroma levels off the line from skin to grey
LEAST_PART = 0.024  # of the lower face that a thing covers beside the lips
REST = 0.08  # of cheeks, jaw and chin that may be new beside a thing that comes in from below
SHARP = 12.0  # times as far outside the range as the cells around them are those of a thing that comes in from below
DISTINCT = 4.0  # the same of any area that belongs to a thing: shading and light that move are less
GAP = 0.7  # widths of the mouth: narrower gaps in a thing belong to it
NEAR_COLOR = 8  # levels of Y, Cr and Cb by which colors of one thing differ
NOSE_UNLIKE = 0.66  # correlation
_ROWS = {"is_thing": 3, "enters": 5, "is_hand": 5}  # frames in a row that must show the sign
REACH = 14  # frames before and after such a row that are searched for the rest of the thing
HAND_REACH = 8  # the same of a hand, which takes no longer from the chin to the nose
GIVEN_UP = 250  # frames: what stays longer is taken for a part of the picture
SETTLED = 2 * STEP * LOOKS + REACH  # frames before its own on which a cover depends, unless there was a thing then
_COLOR = np.array([[0.6, 1.0, 1.0]], np.float32)  # weights of luma and chroma in a difference
_LIGHT = np.array([[1.0, 1.0, 1.0]], np.float32)
_DILATE = np.ones((5, 5), np.uint8)
_INNER = np.ones((5, 13), np.uint8)  # taken off the face: hair comes in at its sides
_PAIR = np.ones((2, 2), np.uint8)
_LEAST_CELLS = 3  # by which an area lies below the face, or on the lips


@dataclass(frozen=True, slots=True)
class Signs:
    """What one look shows against earlier ones. ``new`` (SIDE, SIDE) uint8: grey levels outside the usual range, or 255
    for a vivid cell. ``is_thing``: enough of it for a thing. ``enters``: a thing comes in from below and reaches the
    lips. ``is_hand``: the nose is covered."""

    new: np.ndarray
    is_thing: bool
    enters: bool
    is_hand: bool


def signs_of(look: Look, earlier: Sequence[Look]) -> Signs:
    """The signs of a thing in a look, by those ``earlier`` ones of the same shot that show the face in a near pose."""
    near = look.comparable(earlier)
    new, is_hand = np.zeros((SIDE, SIDE), np.uint8), False
    if len(near) >= LEAST_LOOKS:
        new = _newness(look, near, _COLOR)
        if look.is_fine:
            likeness = sorted(look.nose_likeness(near), reverse=True)
            is_hand = likeness[int(len(near) * ALREADY)] < NOSE_UNLIKE
    vivid = look.off_skin() > VIVID
    new[vivid & (new >= LIKELY) if len(near) >= LEAST_LOOKS else vivid] = 255
    ground = look.ground[ROWS]
    certain = cv2.morphologyEx((new[ROWS] >= CERTAIN).astype(np.uint8) & ground, cv2.MORPH_OPEN, _PAIR)
    is_thing = bool(certain.sum() > LEAST_PART * max(int(look.face.sum()), 1))
    return Signs(new, is_thing, _reaching_lips(look, new) is not None, is_hand)


class _Moment:
    """One frame of a finder: its signs, and the covers that these give if there is a thing at all.

    Covers are asked for later than signs, and by then looks nearer in time are known: a head that has turned since the
    earlier ones is new to those only.
    """

    def __init__(self, index: int, look: Look | None, known: Sequence[Look]) -> None:
        self.index, self.look = index, look
        self.signs = None if look is None else signs_of(look, known)
        self._is_fresh = False
        self._covers: dict[str, np.ndarray] = {}
        self._followed: dict[tuple[str, int], np.ndarray] = {}

    def shows(self, kind: str) -> bool:
        """Whether it shows that sign, one of the names of ``_ROWS``."""
        return self.signs is not None and bool(getattr(self.signs, kind))

    def cover(self, kind: str, known: Sequence[Look]) -> np.ndarray:
        """(SIDE, SIDE) float32 in [0, 1]: of a thing with that sign."""
        assert self.look is not None and self.signs is not None
        if not self._is_fresh and not any(self.shows(each) for each in _ROWS):
            new = signs_of(self.look, known).new
            self.signs, self._is_fresh = replace(self.signs, new=new), True
        if kind not in self._covers:
            if kind == "is_hand":
                self._covers[kind] = _hand_cover(self.look, self.signs, known)
            else:
                self._covers[kind] = (_thing_cover if kind == "is_thing" else _entering_cover)(self.look, self.signs)
        return self._covers[kind]

    def followed(self, kind: str, known: Sequence[Look], shown: _Moment) -> np.ndarray:
        """(SIDE, SIDE) float32 in [0, 1]: of the thing that another moment shows well, here."""
        if kind == "is_hand" or shown is self:
            return self.cover(kind, known)
        assert self.look is not None and self.signs is not None and shown.look is not None and shown.signs is not None
        if (kind, shown.index) not in self._followed:
            core = _core(shown.look, shown.signs, shown.cover(kind, known))
            colors = shown.look.colors[core].astype(np.float64) - shown.look.skin
            self._followed[kind, shown.index] = _of_color(self.look, self.signs, self.cover(kind, known), colors)
        return self._followed[kind, shown.index]


class OcclusionFinder:
    """Finds what is before one face, frame by frame in playing order, ``REACH`` frames behind."""

    def __init__(self) -> None:
        self._known: deque[Look] = deque(maxlen=LOOKS)  # looks without a thing
        self._recent: deque[_Moment] = deque(maxlen=2 * REACH + 1)
        self._waiting = 0  # of the recent ones, the last that have no answer yet
        self._alarms = 0  # frames in a row that showed a thing

    def push(self, index: int, look: Look | None) -> Iterator[np.ndarray | None]:
        """The next frame, by its number in the source; None for a look if it has no face to paint.

        Gives the cover of the frame ``REACH`` frames before, once there is one: (SIDE, SIDE) float32 in [0, 1], or None
        where nothing is before the face.
        """
        self._recent.append(_Moment(index, look, self._known))
        self._waiting += 1
        if self._waiting > REACH:
            yield self._next()

    def finish(self) -> Iterator[np.ndarray | None]:
        """The covers of the frames that wait. What follows is another shot."""
        while self._waiting:
            yield self._next()
        self.__init__()  # type: ignore[misc]

    def _next(self) -> np.ndarray | None:
        position = len(self._recent) - self._waiting
        self._waiting -= 1
        near = list(self._recent)[max(0, position - REACH) : position + REACH + 1]
        moment = self._recent[position]
        if moment.look is None or moment.signs is None:
            return None
        found = [cover for kind in _ROWS if (cover := self._found(kind, near, near.index(moment))) is not None]
        if not found:
            self._alarms = 0
            if moment.index % STEP == 0 and not _is_before_thing(near, near.index(moment)):
                self._known.append(moment.look)
            return None
        self._alarms += 1
        if self._alarms > GIVEN_UP:
            self._known.clear()
        cover = np.max(found, axis=0)
        if not cover.any():
            return None
        return _without_gaps(moment.look, moment.signs, _in_one_piece(moment.look, moment.signs, cover))

    def _found(self, kind: str, near: Sequence[_Moment], at: int) -> np.ndarray | None:
        """The cover at the frame ``at`` of a thing that enough frames in a row show, if it can be followed from there:
        it is in all between. None without one."""
        in_row = _in_rows([moment.shows(kind) for moment in near], _ROWS[kind])
        for direction in (-1, 1):
            way = range(at, len(near) if direction > 0 else -1, direction)
            if kind == "is_hand":
                way = way[: HAND_REACH + 1]
            shown = next((place for place in way if in_row[place]), None)
            if shown is None:
                continue
            covers = [
                near[place].followed(kind, self._known, near[shown])
                for place in range(at, shown + direction, direction)
                if near[place].look is not None
            ]
            if all(cover.any() for cover in covers):
                return covers[0]
        return None


def _is_before_thing(near: Sequence[_Moment], at: int) -> bool:
    """Whether enough frames in a row show a thing later than the frame ``at``, which may show a part of it already."""
    rows = [_in_rows([moment.shows(kind) for moment in near], count) for kind, count in _ROWS.items()]
    return not any(row[at] for row in rows) and any(any(row[at + 1 :]) for row in rows)


def _in_rows(flags: Sequence[bool], count: int) -> list[bool]:
    """Which of the flags belong to a row of at least ``count`` that are set."""
    inside = [False] * len(flags)
    start = 0
    for place, flag in enumerate([*flags, False]):
        if not flag:
            if place - start >= count:
                inside[start:place] = [True] * (place - start)
            start = place + 1
    return inside


def _thing_cover(look: Look, signs: Signs) -> np.ndarray:
    """(SIDE, SIDE) float32 in [0, 1]: the cells before which there is a thing, if there is one at all."""
    likely = cv2.bitwise_and((signs.new >= LIKELY).astype(np.uint8), cv2.dilate(look.face, _DILATE))
    likely = cv2.morphologyEx(likely, cv2.MORPH_CLOSE, _DILATE)
    _, labels = cv2.connectedComponents(likely)
    sure = np.unique(labels[(signs.new >= CERTAIN) & (look.ground > 0)])
    kept = np.zeros((SIDE, SIDE), np.uint8)
    for label in sure[sure > 0]:
        area = (labels == label).astype(np.uint8)
        if _sharpness(look, signs.new, area) >= DISTINCT:
            kept |= area
    return _softened(kept)


def _sharpness(look: Look, new: np.ndarray, area: np.ndarray) -> float:
    """How many times as new the inside of an ``area`` (SIDE, SIDE) uint8 is as the cells around it, on the skin."""
    skin = (look.face > 0) & (filled(hull(look.points[48:60])) == 0)  # an open mouth is new as well
    edge = (cv2.dilate(area, _DILATE) > area) & skin
    core = (cv2.erode(area, np.ones((3, 3), np.uint8)) > 0) & skin
    if not edge.any() or core.sum() < _LEAST_CELLS:
        return 0.0
    return float(np.median(new[core]) / max(float(np.median(new[edge])), 1.0))


def _areas(new: np.ndarray) -> tuple[int, np.ndarray]:
    """Areas of new cells: one more than the highest label, and (SIDE, SIDE) int32 labels from 1, 0 elsewhere."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[ROWS] = new[ROWS] >= ENTERING
    count, labels = cv2.connectedComponents(
        cv2.morphologyEx(cv2.morphologyEx(cells, cv2.MORPH_OPEN, _PAIR), cv2.MORPH_CLOSE, _DILATE)
    )
    return count, labels


def _touching(labels: np.ndarray, count: int, places: np.ndarray) -> np.ndarray:
    """(count,) bool: the areas that lie partly at ``places`` (SIDE, SIDE) bool."""
    touching = np.bincount(labels[places], minlength=count) >= _LEAST_CELLS
    touching[0] = False
    return touching


def _below_jaw(look: Look) -> np.ndarray:
    """(SIDE, SIDE) bool: outside the face, below the jaw and not beside it."""
    below = look.face == 0
    below[: int(look.points[[5, 11], 1].mean())] = False
    below[:, : int(look.points[4, 0])] = below[:, int(look.points[12, 0]) :] = False
    return below


def _from_below(look: Look, new: np.ndarray) -> list[np.ndarray]:
    """(SIDE, SIDE) uint8 each: the areas of new cells that lie partly below the jaw."""
    count, labels = _areas(new)
    return [(labels == label).astype(np.uint8) for label in np.flatnonzero(_touching(labels, count, _below_jaw(look)))]


def _reaching_lips(look: Look, new: np.ndarray) -> np.ndarray | None:
    """(SIDE, SIDE) uint8: what has a sharp edge, comes in from outside and lies on the lips; None without it, or if
    the rest of the face has changed as well."""
    count, labels = _areas(new)
    lips = filled(hull(look.points[48:60]))
    outside = look.face == 0
    outside[: int(look.points[33, 1])] = False
    enters = _touching(labels, count, outside) & _touching(labels, count, cv2.dilate(lips, _DILATE) > 0)
    if not enters.any():
        return None
    area = enters[labels].astype(np.uint8)
    around = cv2.dilate(area, _DILATE)
    rest = (look.ground > 0) & (around == 0)
    if (new[rest] >= ENTERING).sum() > REST * max(int(rest.sum()), 1):
        return None
    return area if _sharpness(look, new, area) >= SHARP else None


def _entering_cover(look: Look, signs: Signs) -> np.ndarray:
    """(SIDE, SIDE) float32 in [0, 1]: the cells of what comes in from outside, whether or not it is at the lips."""
    at_lips = _reaching_lips(look, signs.new)
    cells = np.zeros((SIDE, SIDE), np.uint8) if at_lips is None else at_lips
    for area in _from_below(look, signs.new):
        if _sharpness(look, signs.new, area) >= DISTINCT:
            cells |= area
    return _softened(cv2.bitwise_and(cells, cv2.dilate(look.face, _DILATE)))


def _in_one_piece(look: Look, signs: Signs, cover: np.ndarray) -> np.ndarray:
    """With what lies between the parts of a thing and has its color, and with further new parts of that color: a bar
    before a beard like it is seen at both sides of the beard only."""
    core = _core(look, signs, cover)
    if core.sum() < _LEAST_CELLS:
        return cover
    alike = _has_color_of(look.colors, look.colors[core])
    parts = np.zeros((SIDE, SIDE), np.uint8)
    parts[ROWS] = ((signs.new >= ENTERING) & alike)[ROWS]
    parts[: int(look.points[33, 1])] = 0
    parts = cv2.morphologyEx(parts, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | core.astype(np.uint8)
    whole = filled(hull(np.argwhere(parts)[:, ::-1]))
    between = cv2.morphologyEx(whole & alike, cv2.MORPH_OPEN, _PAIR)
    between = cv2.morphologyEx(between, cv2.MORPH_CLOSE, _DILATE) & whole
    return np.maximum(cover, _softened(between) * cv2.dilate(look.face, _DILATE))


def _core(look: Look, signs: Signs, cover: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) bool: the cells of a cover that show the thing itself."""
    core = (cover > 0.5) & (cv2.erode(look.face, _INNER) > 0)
    certain = core & (signs.new >= CERTAIN)
    return certain if certain.sum() >= _LEAST_CELLS else core & (signs.new >= LIKELY)


def _of_color(look: Look, signs: Signs, cover: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) float32 in [0, 1]: the areas of a cover that have the colors ``examples`` (n, 3) float of a thing,
    relative to the color of the nose, and areas of these colors that are sharp. Each lies partly on the inner face,
    beside the lips."""
    alike = _has_color_of(look.colors, np.clip(examples + look.skin, 0, 255).astype(np.uint8))
    inner = (cv2.erode(look.face, _INNER) > 0) & (filled(hull(look.points[48:60])) == 0)
    count, labels = _areas(signs.new)
    kept = np.zeros((SIDE, SIDE), np.uint8)
    for label in np.flatnonzero(_touching(labels, count, inner)):
        area = (labels == label).astype(np.uint8)
        new = (area > 0) & (signs.new >= LIKELY)
        if new.sum() < _LEAST_CELLS or alike[new].mean() < 0.5:
            continue
        if (cover[area > 0] > 0.5).mean() > 0.5 or _sharpness(look, signs.new, area) >= SHARP:
            kept |= area
    return _softened(cv2.bitwise_and(kept, cv2.dilate(look.face, _DILATE)))


def _has_color_of(colors: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """(...) bool: which of ``colors`` (..., 3) uint8 lie near one of the ``examples`` (n, 3)."""
    size = 256 // NEAR_COLOR
    table = np.zeros((size + 2,) * 3, bool)
    places = examples // NEAR_COLOR
    for offset in np.ndindex(3, 3, 3):
        table[tuple((places + offset).T)] = True
    return table[tuple(np.moveaxis(colors // NEAR_COLOR + 1, -1, 0))]


def _without_gaps(look: Look, signs: Signs, cover: np.ndarray) -> np.ndarray:
    """With the gaps that are narrower than ``GAP`` mouths: what is as red as lips or as dark as a beard is not new."""
    face = cv2.dilate(look.face, _DILATE)
    beyond = (signs.new >= LIKELY) & (face == 0) & _below_jaw(look)  # of the same thing: a gap may be open to there
    width = max(int(GAP * np.ptp(look.points[48:60, 0])), 1)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    whole = np.maximum(cover, beyond.astype(np.float32))
    return np.maximum(cover, cv2.morphologyEx(whole, cv2.MORPH_CLOSE, disk) * face)


def _softened(cells: np.ndarray) -> np.ndarray:
    return cv2.blur(cv2.dilate(cells, _DILATE).astype(np.float32), (3, 3))


def _hand_cover(look: Look, signs: Signs, earlier: Sequence[Look]) -> np.ndarray:
    """(SIDE, SIDE) float32, 0 or 1: everything where the nose is covered; else what lies below the highest row of a
    hand that rises from below, or sinks."""
    if signs.is_hand:
        return np.ones((SIDE, SIDE), np.float32)
    cover = np.zeros((SIDE, SIDE), np.float32)
    inner = look.face & (1 - filled(hull(look.points[48:60])))
    inner[:, : int(look.points[5, 0])] = inner[:, int(look.points[11, 0]) :] = 0  # not what stands beside the face
    near, rows = look.comparable(earlier), np.flatnonzero(inner.any(axis=1))
    if len(near) < LEAST_LOOKS:
        return cover
    new = _newness(look, near, _LIGHT)
    if sum(int((area & inner).sum()) for area in _from_below(look, new)) < _LEAST_CELLS:
        return cover
    found = ((new >= FAINT) & (inner > 0)).sum(axis=1) >= 3
    top, bottom = None, rows[-1]
    for row in range(bottom, rows[0] - 1, -1):
        if found[row] and found[row : bottom + 1].mean() >= 0.5:
            top = row
    if top is not None and bottom - top >= 4:
        cover[top - 1 :] = 1
    return cover


def _newness(look: Look, near: Sequence[BentLook], weights: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: grey levels by which colors lie outside the ranges of most of the looks."""
    new, rank = np.zeros((SIDE, SIDE), np.uint8), int(len(near) * ALREADY)
    new[ROWS] = np.partition(np.stack([look.outside(other, weights) for other in near]), rank, axis=0)[rank]
    return new

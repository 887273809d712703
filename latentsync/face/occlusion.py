"""Things before a face, found on the canvas without a network: what the same face did not show a moment ago.

Every aligned face becomes a ``Look``: its colors at 64 x 64, and the range of colors in the neighbourhood of each cell.
A cell is new where its color lies outside the range of most of the looks before it that showed no thing (the
sample-based background model of Barnich & Van Droogenbroeck 2011, "ViBe", on a canvas that moves with the face); light
that changes as a whole is taken out by the color of the nose. Three signs count, and each must last:

- new color over a part of the cheeks, jaw or chin. Lips never count: teeth, tongue and a dark open mouth come and go;
- a hue that no skin, beard or shadow of this person has: off the line from the color of the nose to grey;
- the base of the nose, which hardly moves, looks unlike itself: a hand, which has the color of the face.

The first two give the cells, grown into the lips; the last covers the whole lower face, since a hand before the nose is
before the mouth, and below its highest row a hand that comes or goes. Each sign needs much to speak, so a thing may be
missed: one of the color of skin or beard that leaves the nose free, or one that was there from the start and not vivid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.face.similarity import transform

SIDE = 64  # cells of a look
ROWS = slice(16, SIDE)  # of the canvas that can be painted
FINE = 128  # side of the canvas on which the nose is compared
STEP, LOOKS = 12, 12  # a look is kept of every 12th frame without a thing, the last 12 of them
LEAST_LOOKS = 3  # so nothing but vivid hues is found in the first 24 frames of a shot
ALREADY = 0.35  # share of the kept looks that may resemble a cell before it counts as seen
ALIKE = 2.0  # cells that the landmarks above the lips of two looks differ by on average: else they are not compared
CERTAIN, LIKELY, FAINT = 24, 10, 5  # grey levels outside the range: of a cell that raises an alarm; that belongs to a
# thing; that belongs to a hand
VIVID = 26.0  # chroma levels off the line from skin to grey
LEAST_PART = 0.04  # of cheeks, jaw and chin that a thing covers
NOSE_UNLIKE = 0.66  # correlation
LEAST_FACE = 100.0  # frame pixels between the ends of the jaw line: the nose of a smaller face has too few
THING_FRAMES, HAND_FRAMES = 3, 5  # in a row that show the sign
REACH = 14  # frames before and after such a row that are searched for the rest of the thing
GIVEN_UP = 250  # frames: what stays longer is taken for a part of the picture
SETTLED = 2 * STEP * LOOKS + REACH  # frames before its own on which a cover depends, unless there was a thing then
_COLOR = np.array([[0.6, 1.0, 1.0]], np.float32)  # weights of luma and chroma in a difference
_LIGHT = np.array([[1.0, 1.0, 1.0]], np.float32)
_SEARCH = 2  # pixels at FINE that the nose may have moved
_RANGE = np.ones((5, 5), np.uint8)
_DILATE = np.ones((5, 5), np.uint8)


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of an aligned face; about 60 kB. Arrays (SIDE, SIDE[, 3]) uint8; colors are Y, Cr, Cb."""

    points: np.ndarray  # (68, 2) landmarks in cells
    colors: np.ndarray
    low: np.ndarray  # range of the colors around each cell
    high: np.ndarray
    skin: np.ndarray  # (3,) color of the nose
    face: np.ndarray  # 1 in the hull of the lower face
    ground: np.ndarray  # 1 where a thing can raise an alarm: the hull without its edge and the lips
    grey: np.ndarray  # (FINE, FINE)
    is_fine: bool  # the face is large enough to compare the nose

    @classmethod
    def of(cls, pixels: np.ndarray, matrix: np.ndarray, landmarks: np.ndarray) -> Look:
        """From an aligned face (3, R, R) float32 in [-1, 1], its matrix (2, 3) and landmarks (68, 2) in the frame."""
        side = pixels.shape[-1]
        fine = cv2.resize(pixels.transpose(1, 2, 0), (FINE, FINE), interpolation=cv2.INTER_AREA)
        fine = cv2.convertScaleAbs(fine + 1, alpha=127.5)
        colors = cv2.cvtColor(cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
        points = (transform(matrix, landmarks) + 0.5) * (SIDE / side) - 0.5
        face = _filled(cv2.convexHull(np.concatenate([points[1:16], points[[29, 40, 47]]]).astype(np.float32))[:, 0])
        lips = _filled(cv2.convexHull(points[48:60].astype(np.float32))[:, 0])
        ground = cv2.subtract(cv2.erode(face, np.ones((5, 5), np.uint8)), cv2.dilate(lips, np.ones((7, 7), np.uint8)))
        nose = colors[_filled(points[[39, 42, 35, 31]]) > 0]
        width = float(np.linalg.norm(landmarks[16] - landmarks[0]))
        return cls(
            points, colors, cv2.erode(colors, _RANGE), cv2.dilate(colors, _RANGE),
            np.median(nose, axis=0) if len(nose) else np.full(3, 128.0), face, ground,
            cv2.GaussianBlur(cv2.cvtColor(fine, cv2.COLOR_RGB2GRAY), (0, 0), 1), width >= LEAST_FACE,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signs:
    """What one look shows against earlier ones. ``new`` (SIDE, SIDE) uint8: grey levels outside the usual range, or 255
    for a vivid cell. ``is_thing``: enough of it for a thing. ``is_hand``: the nose is covered."""

    new: np.ndarray
    is_thing: bool
    is_hand: bool


def signs_of(look: Look, earlier: Sequence[Look]) -> Signs:
    """The signs of a thing in a look, by those ``earlier`` ones of the same shot that show the face in a like pose."""
    alike = _alike(look, earlier)
    new, is_hand = np.zeros((SIDE, SIDE), np.uint8), False
    if len(alike) >= LEAST_LOOKS:
        new = _newness(look, alike, _COLOR)
        if look.is_fine:
            likeness = sorted((_nose_likeness(look, other) for other in alike), reverse=True)
            is_hand = likeness[int(len(alike) * ALREADY)] < NOSE_UNLIKE
    vivid = _off_skin(look) > VIVID
    new[vivid] = 255
    ground = look.ground[ROWS]
    certain = cv2.morphologyEx((new[ROWS] >= CERTAIN).astype(np.uint8) & ground, cv2.MORPH_OPEN, np.ones((2, 2)))
    return Signs(new, bool(certain.sum() > LEAST_PART * max(int(ground.sum()), 1)), is_hand)


class OcclusionFinder:
    """Finds what is before one face, frame by frame in playing order, ``REACH`` frames behind."""

    def __init__(self) -> None:
        self._known: deque[Look] = deque(maxlen=LOOKS)  # looks without a thing
        self._recent: deque[tuple[int, Look | None, Signs | None]] = deque(maxlen=2 * REACH + 1)
        self._waiting = 0  # of the recent ones, the last that have no answer yet
        self._alarms = 0  # frames in a row that showed a thing

    def push(self, index: int, look: Look | None) -> Iterator[np.ndarray | None]:
        """The next frame, by its number in the source; None for a look if it has no face to paint.

        Gives the cover of the frame ``REACH`` frames before, once there is one: (SIDE, SIDE) float32 in [0, 1], or None
        where nothing is before the face.
        """
        self._recent.append((index, look, None if look is None else signs_of(look, self._known)))
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
        index, look, signs = self._recent[position]
        near = [each[2] for each in list(self._recent)[max(0, position - REACH) : position + REACH + 1]]
        if look is None or signs is None:
            return None
        is_thing = _in_a_row([each is not None and each.is_thing for each in near], THING_FRAMES)
        is_hand = _in_a_row([each is not None and each.is_hand for each in near], HAND_FRAMES)
        if not is_thing and not is_hand:
            self._alarms = 0
            if index % STEP == 0:
                self._known.append(look)
            return None
        self._alarms += 1
        if self._alarms > GIVEN_UP:
            self._known.clear()
        cover = _thing_cover(look, signs) if is_thing else np.zeros((SIDE, SIDE), np.float32)
        if is_hand:
            cover = np.ones_like(cover) if signs.is_hand else np.maximum(cover, _hand_cover(look, self._known))
        return cover if cover.any() else None


def _in_a_row(flags: Sequence[bool], count: int) -> bool:
    row = 0
    for flag in flags:
        row = row + 1 if flag else 0
        if row == count:
            return True
    return False


def _thing_cover(look: Look, signs: Signs) -> np.ndarray:
    """(SIDE, SIDE) float32 in [0, 1]: the cells before which there is a thing, if there is one at all."""
    likely = cv2.bitwise_and((signs.new >= LIKELY).astype(np.uint8), cv2.dilate(look.face, _DILATE))
    likely = cv2.morphologyEx(likely, cv2.MORPH_CLOSE, _DILATE)
    count, labels = cv2.connectedComponents(likely)
    sure = np.unique(labels[(signs.new >= CERTAIN) & (look.ground > 0)])
    kept = np.isin(labels, sure[sure > 0]).astype(np.uint8) if count > 1 else likely
    return cv2.blur(cv2.dilate(kept, _DILATE).astype(np.float32), (3, 3))


def _hand_cover(look: Look, earlier: Sequence[Look]) -> np.ndarray:
    """(SIDE, SIDE) float32, 0 or 1: everything below the highest row of a hand that rises from below, or sinks."""
    cover = np.zeros((SIDE, SIDE), np.float32)
    alike, rows = _alike(look, earlier), np.flatnonzero(look.face.any(axis=1))
    if len(alike) < LEAST_LOOKS or not len(rows):
        return cover
    found = ((_newness(look, alike, _LIGHT) >= FAINT) & (look.face > 0)).sum(axis=1) >= 3
    top, bottom = None, rows[-1]
    for row in range(bottom, rows[0] - 1, -1):
        if found[row] and found[row : bottom + 1].mean() >= 0.5:
            top = row
    if top is not None and bottom - top >= 4:
        cover[top - 1 :] = 1
    return cover


def _alike(look: Look, others: Sequence[Look]) -> list[Look]:
    return [other for other in others if np.abs(look.points - other.points)[:48].mean() <= ALIKE]


def _newness(look: Look, alike: Sequence[Look], weights: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: grey levels by which colors lie outside the ranges of most of the looks."""
    new, rank = np.zeros((SIDE, SIDE), np.uint8), int(len(alike) * ALREADY)
    new[ROWS] = np.partition(np.stack([_outside(look, other, weights) for other in alike]), rank, axis=0)[rank]
    return new


def _outside(look: Look, other: Look, weights: np.ndarray) -> np.ndarray:
    """How far the colors in ``ROWS`` lie outside the range of the other look, (rows, SIDE) uint8."""
    colors = cv2.add(look.colors[ROWS], np.append(other.skin - look.skin, 0.0))
    apart = cv2.max(cv2.subtract(colors, other.high[ROWS]), cv2.subtract(other.low[ROWS], colors))
    return cv2.transform(apart, weights)


def _off_skin(look: Look) -> np.ndarray:
    """(SIDE, SIDE) float32: chroma levels by which a color lies off the line from the skin to grey and back again."""
    chroma = look.colors[..., 1:].astype(np.float32) - 128
    skin = look.skin[1:] - 128
    along = np.clip(chroma @ (skin / max(float(skin @ skin), 1.0)), 0, 2)
    return np.linalg.norm(chroma - along[..., None] * skin, axis=-1)


def _nose_likeness(look: Look, other: Look) -> float:
    """Correlation of the base of the nose in two looks, 1 where it cannot be compared."""
    scale = FINE / SIDE
    mine, theirs = ((each.points + 0.5) * scale - 0.5 for each in (look, other))
    left, top = np.round((mine[31, 0] - 4, mine[30, 1] - 2)).astype(int)
    right, bottom = np.round((mine[35, 0] + 5, mine[33, 1] + 5)).astype(int)
    x, y = np.round((theirs[31, 0] - 4, theirs[30, 1] - 2)).astype(int)
    patch = look.grey[max(top, 0) : bottom, max(left, 0) : right]
    height, width = patch.shape
    around = other.grey[max(y - _SEARCH, 0) : y + height + _SEARCH, max(x - _SEARCH, 0) : x + width + _SEARCH]
    if min(height, width) < 6 or around.shape[0] < height or around.shape[1] < width:
        return 1.0
    return float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED).max())


def _filled(polygon: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: 1 inside a polygon (n, 2) in cells."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(canvas, [np.round(polygon * 16).astype(np.int32)], 1, shift=4)
    return canvas

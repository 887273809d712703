"""An overview picture of a run: one row a second with the source, the result, what was painted, and why not.

Rows are thinned out as the video gets longer, so memory and the picture stay small.
"""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from latentsync.face.box import box_centre, longer_side
from latentsync.inference.visibility import seen_as
from latentsync.inference.windows import AlignedFrame, FaceFrame, PassedFrame
from latentsync.media.contact_sheet import NAME_LETTERS, TILE, SheetRow, write_sheet
from latentsync.types import Box, Frame

if TYPE_CHECKING:
    from latentsync.inference.joins import JoinedFrame

MOST_ROWS = 96
ROWS_IN_A_COLUMN = 24
MARGIN = 1.7  # side of what is shown, over that of the face's box
_TITLES = ("source", "result", "painted")


@dataclass(slots=True)
class _Row:
    second: int  # since the first frame
    time: Fraction
    text: str
    box: Box
    source: np.ndarray  # the pixels in the box
    tiles: tuple[np.ndarray, ...] = ()


class Overview:
    """Collects rows while a run goes on. ``sources`` sees each frame before the paste, ``result`` the same after it."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._waiting: deque[_Row] = deque()
        self._interval = 1  # seconds
        self._start: Fraction | None = None
        self._second = -1  # of the last row

    def sources(self, members: Iterator[JoinedFrame], shows: Callable[[Frame], bool]) -> Iterator[JoinedFrame]:
        """Pass ``members`` on; those that the result ``shows`` may become rows."""
        for item in members:
            member = item if isinstance(item, PassedFrame) else item.source
            if shows(member.frame):
                self._start = member.frame.time if self._start is None else self._start
                second = int(member.frame.time - self._start)
                if second > self._second and second % self._interval == 0:
                    self._second = second
                    self._waiting.append(_begin_row(member, second))
            yield item

    def result(self, frame: Frame) -> None:
        """A frame of the result, in the same order."""
        if not self._waiting or self._waiting[0].time != frame.time:
            return
        row = self._waiting.popleft()
        made = frame.region(row.box)
        changed = np.abs(made.astype(np.int16) - row.source).max(axis=-1, keepdims=True) > 0
        dark = row.source // 3
        painted = np.where(changed, dark + np.array([120, 60, 0], np.uint8), dark)
        row.tiles = tuple(_square(image) for image in (row.source, made, painted))
        row.source = row.source[:0]
        if row.second % self._interval == 0:
            self._rows.append(row)
        if len(self._rows) > MOST_ROWS:
            self._interval *= 2
            self._rows = [row for row in self._rows if row.second % self._interval == 0]

    def write(self, path: Path) -> None:
        """The picture as a PNG; it appears whole or not at all."""
        if not self._rows:
            return
        for tile, title in zip(self._rows[0].tiles, _TITLES, strict=True):
            _write_on(tile, title)
        write_sheet(path, [SheetRow(row.text, row.tiles) for row in self._rows], rows_in_a_column=ROWS_IN_A_COLUMN)


def _begin_row(member: AlignedFrame, second: int) -> _Row:
    reason, confidence = seen_as(member)
    height, width, _ = member.frame.shape
    box: Box = (0, 0, width, height)
    lines = [f"{float(member.frame.time):.1f} s"]
    if isinstance(member, FaceFrame):
        lines.append(f"confidence {confidence:.2f}")
        side = MARGIN * longer_side(member.observation.box)
        x, y = box_centre(member.observation.box)
        corners = np.round([x - side / 2, y - side / 2, x + side / 2, y + side / 2]).astype(int)
        cut = np.clip(corners, 0, [width, height, width, height])
        if cut[2] > cut[0] and cut[3] > cut[1]:
            box = (int(cut[0]), int(cut[1]), int(cut[2]), int(cut[3]))
    lines += textwrap.wrap(reason, NAME_LETTERS)
    return _Row(second, member.frame.time, "\n".join(lines), box, np.array(member.frame.region(box)))


def _square(image: np.ndarray) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the whole image, with black beside it where it is no square."""
    scale = TILE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    tile = np.zeros((TILE, TILE, 3), np.uint8)
    top, left = ((TILE - side) // 2 for side in small.shape[:2])
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    return tile


def _write_on(tile: np.ndarray, text: str) -> None:
    for color, width in ((0, 3), (255, 1)):
        cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (color,) * 3, width, cv2.LINE_AA)

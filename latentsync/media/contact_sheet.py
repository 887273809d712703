"""Rows of small images under one another, each with its name: what a result looks like at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.atomic import atomic_file

TILE = 128  # side of a image, pixels
NAME_WIDTH = 132  # pixels
NAME_LETTERS = 16  # that fit into it
_GAP = 2  # pixels between rows


@dataclass(frozen=True, slots=True)
class SheetRow:
    """``images`` (H, W, 3) uint8 RGB, square; None leaves a place empty."""

    name: str
    images: Sequence[np.ndarray | None]


def write_sheet(path: Path, rows: Sequence[SheetRow], rows_in_a_column: int | None = None) -> None:
    """Write a PNG; rows may have different numbers of images. After ``rows_in_a_column`` they go on to the right."""
    width = NAME_WIDTH + max(len(row.images) for row in rows) * TILE
    high = min(len(rows), rows_in_a_column or len(rows))
    sheet = np.full((high * (TILE + _GAP), -(-len(rows) // high) * width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        top, first = number % high * (TILE + _GAP), number // high * width
        for line, text in enumerate(_lines(row.name)):
            place = (first + 4, top + TILE // 2 + 16 * line)
            cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        for column, image in enumerate(row.images):
            if image is not None:
                left = first + NAME_WIDTH + column * TILE
                sheet[top : top + TILE, left : left + TILE] = _fit(image)
    encoded, content = cv2.imencode(".png", sheet[..., ::-1])
    assert encoded  # PNG takes any uint8 image
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _lines(name: str) -> list[str]:
    parts = name.split("\n")
    return [part[start : start + NAME_LETTERS] for part in parts for start in range(0, len(part), NAME_LETTERS)]


def _fit(image: np.ndarray) -> np.ndarray:
    enlarging = image.shape[0] < TILE
    return cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA)

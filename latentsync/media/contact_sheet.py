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


def write_sheet(path: Path, rows: Sequence[SheetRow]) -> None:
    """Write a PNG; rows may have different numbers of images."""
    columns = max(len(row.images) for row in rows)
    sheet = np.full((len(rows) * (TILE + _GAP), NAME_WIDTH + columns * TILE, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        top = number * (TILE + _GAP)
        for line, start in enumerate(range(0, len(row.name), NAME_LETTERS)):
            text = row.name[start : start + NAME_LETTERS]
            place = (4, top + TILE // 2 + 16 * line)
            cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        for column, image in enumerate(row.images):
            if image is not None:
                left = NAME_WIDTH + column * TILE
                sheet[top : top + TILE, left : left + TILE] = _fit(image)
    encoded, content = cv2.imencode(".png", sheet[..., ::-1])
    assert encoded  # PNG takes any uint8 image
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _fit(image: np.ndarray) -> np.ndarray:
    enlarging = image.shape[0] < TILE
    return cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA)

"""What was computed from a clip, kept on disk under the clip's content hash: same-named clips never mix."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from latentsync.atomic import atomic_file

logger = logging.getLogger(__name__)


class ArrayCache:
    """Arrays by content hash in one folder. ``folder`` names what they are and how they were computed.

    Safe for many processes: files appear whole. A damaged file is computed anew, with a warning. ``mapped``: arrays
    that are there are read-only and loaded as they are looked at, for readers of small parts of large ones.
    """

    def __init__(self, folder: Path, *, mapped: bool = False) -> None:
        self._folder = folder
        self._mode: Literal["r"] | None = "r" if mapped else None

    def get(self, content: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of the clip with that content hash; ``compute`` is called if it is not there."""
        path = self._folder / content[:2] / f"{content}.npy"
        if path.is_file():
            try:
                return np.load(path, mmap_mode=self._mode, allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                logger.warning("Cached array %s is damaged (%s); computing it again.", path, error)
        array = compute()
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        return array

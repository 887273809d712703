"""What hostile files are entered in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VIDEO, AUDIO, LIST = "video", "audio", "list of other files"  # what a file is given out for; a list: for either


@dataclass(frozen=True)
class Hostile:
    """A file that ``make`` writes into a folder."""

    kind: str
    make: Callable[[Path], Path]


HOSTILE: dict[str, Hostile] = {}


def hostile(kind: str, *names: str) -> Callable[[Callable], Callable]:
    """Enter a builder into the table; with several names, each is passed to it."""

    def enter(make: Callable) -> Callable:
        for name in names:
            HOSTILE[name] = Hostile(kind, make if len(names) == 1 else lambda folder, name=name: make(folder, name))
        return make

    return enter

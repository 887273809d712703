"""Stretches of a result, in seconds from its start, and what may be asked for in those in which nobody speaks.

Importing this module loads no framework, so a command line can list the choices.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from latentsync.errors import ConfigError


class SilenceMode(StrEnum):
    """What a result shows where nobody speaks; see the table of ``inference.silence``."""

    GENERATE = "generate"
    CLOSE = "close"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds ``start`` to ``stop``; the end is no part of it. Raises ``ConfigError`` unless 0 <= start < stop."""

    start: Fraction
    stop: Fraction

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ConfigError(
                f"From {float(self.start):g} s to {float(self.stop):g} s is no stretch of time.",
                remedy="Give a start from 0 and a later end.",
            )

    @classmethod
    def parse(cls, text: str) -> Stretch:
        """From '12.0-14.5'. Raises ``ConfigError`` for anything else."""
        try:
            start, stop = (Fraction(part.strip()) for part in text.split("-"))
        except (ValueError, ZeroDivisionError) as error:
            raise ConfigError(
                f"{text!r} is no stretch of time.", remedy="Give two times in seconds, such as 12.0-14.5."
            ) from error
        return cls(start, stop)

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        return f"{_plain(self.start)}-{_plain(self.stop)}"

    @property
    def seconds(self) -> Fraction:
        """How long it lasts."""
        return self.stop - self.start


def _plain(seconds: Fraction) -> str:
    """A decimal number where that is exact, else a fraction."""
    return f"{float(seconds):g}" if Fraction(f"{float(seconds):g}") == seconds else str(seconds)


class Stretches:
    """Stretches that may touch or overlap, in order and joined."""

    def __init__(self, given: Iterable[Stretch] = ()) -> None:
        joined: list[Stretch] = []
        for each in sorted(given, key=lambda stretch: stretch.start):
            if joined and each.start <= joined[-1].stop:
                joined[-1] = Stretch(joined[-1].start, max(joined[-1].stop, each.stop))
            else:
                joined.append(each)
        self.all = tuple(joined)
        self._starts = [stretch.start for stretch in joined]

    def at(self, time: Fraction) -> Stretch | None:
        """The one that holds ``time``."""
        place = bisect_right(self._starts, time) - 1
        return self.all[place] if place >= 0 and time < self.all[place].stop else None

    def seconds_within(self, stretch: Stretch) -> Fraction:
        """How much of ``stretch`` lies in them."""
        common = (min(stretch.stop, each.stop) - max(stretch.start, each.start) for each in self.all)
        return sum((max(Fraction(0), each) for each in common), Fraction(0))

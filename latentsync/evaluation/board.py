"""The figures of one clip as they come in: a number, or the sentence why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from latentsync.errors import LatentSyncError
from latentsync.evaluation.figures import FIGURES
from latentsync.evaluation.settings import ROWS

Value = float | str


@dataclass
class Board:
    """``rows``: kind of row -> figure -> value."""

    rows: dict[str, dict[str, Value]] = field(default_factory=lambda: {row: {} for row in ROWS})

    def put(self, row: str, values: Mapping[str, Value]) -> None:
        """Numbers that are known, or sentences."""
        self.rows[row].update(values)

    def say(self, row: str, names: Iterable[str], reason: str) -> None:
        """Why there are no numbers, where none stands yet."""
        for name in names:
            self.rows[row].setdefault(name, reason)

    def attempt(self, row: str, names: Iterable[str], compute: Callable[[], Mapping[str, float]]) -> None:
        """The numbers ``names`` that ``compute`` gives, or the message of the named error that it raises."""
        try:
            self.put(row, compute())
        except LatentSyncError as error:
            self.say(row, names, error.message)

    def each(self, row: str, figures: Mapping[str, Callable[[], float]]) -> None:
        """One number at a time."""
        for name, compute in figures.items():
            self.attempt(row, [name], lambda name=name, compute=compute: {name: float(compute())})

    def finish(self, reason: str) -> dict[str, dict[str, Value]]:
        """All rows with all figures in the order of the table; what nobody filled in has ``reason``."""
        for row, values in self.rows.items():
            self.say(row, FIGURES, reason)
            for name, value in values.items():
                if not isinstance(value, str) and np.isnan(value):
                    values[name] = "not a number"
        return {row: {name: values[name] for name in FIGURES} for row, values in self.rows.items()}

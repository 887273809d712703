"""Counting many values in little memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Histogram:
    """``counts[i]`` values lie from ``edges[i]`` up to, not including, ``edges[i + 1]``; those beyond either end are
    counted in the first and last of them."""

    title: str
    unit: str
    edges: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.edges) - 1)

    def add(self, value: float) -> None:
        """One value."""
        place = bisect_right(self.edges, value) - 1
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1
        self.total += value

    @property
    def n(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """None without values."""
        return self.total / self.n if self.n else None


def even_edges(start: float, stop: float, step: float) -> list[float]:
    """``start``, ``start + step``, ... ``stop``"""
    return [round(start + step * k, 6) for k in range(round((stop - start) / step) + 1)]

"""How sure a number is: intervals for means over clips and for shares of clips.

Both treat clips as drawn independently. Several clips of one speaker are not: then the intervals are too narrow, and
the speakers should be what is given here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 1 << 22  # values held at once


class Interval(NamedTuple):
    low: float
    high: float


def bootstrap_interval(values: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES) -> Interval:
    """Percentile bootstrap interval (Efron 1979) of the mean of (n,) values; the same for the same seed.

    Too narrow below about 20 values. Raises ``ValueError`` for no values or for values that are not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("a vector of at least one finite value is needed")
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(values))
    means = [
        values[rng.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson_interval(successes: int, total: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval (1927) of a share; holds for small counts and for shares of 0 and 1.

    Raises ``ValueError`` unless 0 <= successes <= total and total >= 1.
    """
    bounds = binomtest(successes, total).proportion_ci(level, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))

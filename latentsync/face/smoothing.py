"""Zero-phase smoothing that calms a still head and follows a moving one.

Every point is fitted twice by local regression (Savitzky & Golay 1964; Cleveland 1979): a line through many neighbours,
which averages the detector's tremble away, and a parabola through few, which follows what a head can do. Where the two
differ by no more than the tremble explains, the line counts; where they differ by much more, the parabola (shrinkage in
the manner of James & Stein 1961). Both look equally far into past and future and never beyond the run they are given.
"""

from __future__ import annotations

import numpy as np

CLOSE = 3  # neighbours on each side for the parabola
TOLERANCE = 3.0  # times the variance that tremble alone gives to the difference of the two fits
THIRD_DIFFERENCE_GAIN = 20.0  # 1 + 9 + 9 + 1: variance of a third difference of white noise


def smooth_points(times: np.ndarray, points: np.ndarray, position: int) -> np.ndarray:
    """(p, 2): ``points[position]`` smoothed by its neighbours.

    ``times`` (n,) seconds, ascending; ``points`` (n, p, 2), the run of one track around the wanted frame. Motion at a
    steady speed passes unchanged, also at the ends of a run.
    """
    if len(times) < 3 or times[0] == times[-1]:
        return points[position]
    calm = _regression_row(times, position, order=1)
    quick = np.zeros(len(times))
    reach = min(CLOSE, position, len(times) - 1 - position)  # shrinks at the ends, down to the point itself
    near = slice(position - reach, position + reach + 1)
    quick[near] = _regression_row(times[near], reach, order=min(2, reach))
    smoothed = np.tensordot(calm, points, axes=1)
    difference = np.tensordot(quick - calm, points, axes=1)
    expected = TOLERANCE * 2 * ((quick - calm) ** 2).sum() * _noise_variance(points)
    squared = (difference**2).sum(axis=-1, keepdims=True)
    return smoothed + difference * np.clip(1 - expected / np.maximum(squared, 1e-12), 0, 1)


def _regression_row(times: np.ndarray, position: int, order: int) -> np.ndarray:
    """(n,) weights whose product with values is their local polynomial fit at ``times[position]``."""
    if len(times) == 1:
        return np.ones(1)
    x = (times - times[position]) / np.abs(times - times[position]).max()
    kernel = 1 - (x * len(times) / (len(times) + 1)) ** 2  # Epanechnikov's, a little short of zero at the ends
    basis = x[:, None] ** np.arange(order + 1)
    weighted = basis * kernel[:, None]
    return np.linalg.solve(basis.T @ weighted, weighted.T)[0]


def _noise_variance(points: np.ndarray) -> float:
    """Variance of one coordinate from frame to frame beyond any smooth motion, px^2: the median over the points."""
    if len(points) < 4:
        return 0.0
    third = np.diff(points, n=3, axis=0)
    return float(np.median((third**2).mean(axis=(0, 2)))) / THIRD_DIFFERENCE_GAIN

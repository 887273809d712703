"""Light and color of a generated face brought to those of the frame around it.

Just inside the border of the pasted area the face and the frame show the same skin, so a difference there is an error
of the generator. One gain for all channels and one offset per channel are fitted to that ring; Reinhard et al. 2001,
"Color transfer between images", match the same two statistics over whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GAIN_LIMITS = (0.8, 1.25)  # a larger difference is not one of light
SHIFT_LIMIT = 32.0  # grey levels by which the mean of a channel may move
SHIFT_WEIGHT = 0.5  # of a shift of the mean against structure: one that stands out of the errors is one of light
# Share of the ring's variance that the fit leaves: no correction from the first value, full correction to the second.
UNEXPLAINED = (0.7, 0.2)
NOISE_LEVELS = 6.0  # grey levels of error that do not count against a fit
PRIOR_LEVELS = 2.0  # grey levels of spread below which the ring does not determine the gain
OUTLIER = 3.0  # times the median error above which a pixel is left out


@dataclass(frozen=True, slots=True)
class ColorFit:
    """``corrected = gain * pixels + offset``, in grey levels. ``offset`` (3,) float32."""

    gain: float
    offset: np.ndarray

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(3, ...) float32 grey levels in and out."""
        offset = self.offset.reshape(3, *[1] * (pixels.ndim - 1))
        return pixels * np.float32(self.gain) + offset


NEUTRAL = ColorFit(1.0, np.zeros(3, np.float32))


def fit_color(generated: np.ndarray, original: np.ndarray) -> ColorFit:
    """The correction that brings ``generated`` to ``original``, both (n, 3) float32 grey levels of the same places.

    Least squares with a prior for a gain of 1, without the pixels that are far from the median difference (a moved jaw
    line, a hand). The less of the difference the fit explains, the weaker is the correction.
    """
    if len(generated) < 16:
        return NEUTRAL
    x, y = generated.astype(np.float64), original.astype(np.float64)
    gain, offset = 1.0, np.median(y - x, axis=0)
    for _ in range(2):
        error = np.abs(y - gain * x - offset).max(axis=1)
        kept = error <= OUTLIER * max(float(np.median(error)), 1.0)
        gain, offset = _least_squares(x[kept], y[kept])
    x, y = x[kept], y[kept]
    shift = np.clip(y.mean(axis=0) - x.mean(axis=0), -SHIFT_LIMIT, SHIFT_LIMIT)
    error = ((y - gain * x - offset) ** 2).mean()
    unexplained = error / (y.var(axis=0).mean() + NOISE_LEVELS**2 + SHIFT_WEIGHT * (shift**2).mean())
    none, full = UNEXPLAINED
    trust = float(np.clip((none - unexplained) / (none - full), 0, 1))
    gain = 1 + trust * (gain - 1)
    return ColorFit(gain, (trust * shift + (1 - gain) * x.mean(axis=0)).astype(np.float32))


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    prior = x.size * PRIOR_LEVELS**2
    centred = x - x_mean
    gain = float(((centred * (y - y_mean)).sum() + prior) / ((centred**2).sum() + prior))
    gain = float(np.clip(gain, *GAIN_LIMITS))
    return gain, y_mean - gain * x_mean


def mean_fit(fits: Sequence[ColorFit], weights: np.ndarray) -> ColorFit:
    """The sum of corrections times ``weights`` (n,), which add up to 1."""
    gain = float(np.dot(weights, [fit.gain for fit in fits]))
    return ColorFit(gain, np.tensordot(weights, [fit.offset for fit in fits], axes=1).astype(np.float32))

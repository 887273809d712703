"""Telling silence from sound."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE

_STRETCH = AUDIO_RATE // 50  # samples, 20 ms
_FAINTEST = round(32768 * 10 ** (-60 / 20))  # 16-bit peak of -60 dBFS


def is_loud(samples: np.ndarray) -> np.ndarray:
    """(n,) bool for stretches of 20 ms of 16-bit samples: whether a peak reaches -60 dBFS."""
    samples = np.pad(samples, (0, -len(samples) % _STRETCH))
    return np.abs(samples.astype(np.int32)).reshape(-1, _STRETCH).max(axis=1) >= _FAINTEST

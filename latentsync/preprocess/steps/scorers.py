"""What steps 7 and 8 judge by; ``published_scorers.py`` has the published networks, ``own_sync_scorer.py`` our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from latentsync.types import SyncScore


class SyncScorer(Protocol):
    """Says how well the face of a clip and its sound agree."""

    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """``frames`` (H, W, 3) uint8 RGB at 25 per second, ``waveform`` (n,) float32 at 16 kHz. Raises ``DataError``
        for a clip that cannot be judged."""
        ...


class QualityScorer(Protocol):
    """Rates pictures."""

    def __call__(self, frames: Sequence[np.ndarray]) -> float:
        """First, middle and last frame of a clip, (H, W, 3) uint8 RGB -> 0 (bad) to 100."""
        ...

"""What steps 7 and 8 judge by: protocols, and the published networks behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from latentsync.metrics.hyperiqa import load_hyperiqa, quality
from latentsync.metrics.published_sync import PublishedSync
from latentsync.types import SyncScore

HYPERIQA = "koniq_pretrained.pkl"


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


class PublishedSyncScorer:
    """The published score, with its files from ``folder``; several faces give their mean, as published."""

    def __init__(self, folder: Path, device: str) -> None:
        self._published = PublishedSync.load(folder, device)

    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """See ``SyncScorer``."""
        return self._published.mean_score(lambda: frames, waveform)


class PublishedQualityScorer:
    """hyperIQA with its file from ``folder``."""

    def __init__(self, folder: Path, device: str) -> None:
        self._network = load_hyperiqa(folder / HYPERIQA, torch.device(device))

    def __call__(self, frames: Sequence[np.ndarray]) -> float:
        """See ``QualityScorer``."""
        return quality(self._network, frames)

"""The published networks as judges of steps 7 and 8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from latentsync.checkpoint.registry import HYPERIQA_FILE
from latentsync.metrics.hyperiqa import load_hyperiqa, quality
from latentsync.metrics.published_sync import PublishedSync
from latentsync.types import SyncScore


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
        self._network = load_hyperiqa(folder / HYPERIQA_FILE, torch.device(device))

    def __call__(self, frames: Sequence[np.ndarray]) -> float:
        """See ``QualityScorer``."""
        return quality(self._network, frames)

"""What steps 7 and 8 score clips by: the published networks, or a sync network that was trained here.

This module is loaded when the first clip is scored: with the networks' code it takes longer to load than all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from latentsync.audio.mel import syncnet_mel
from latentsync.checkpoint.registry import HYPERIQA_FILE
from latentsync.errors import DataError
from latentsync.metrics.hyperiqa import load_hyperiqa, quality
from latentsync.metrics.published_sync import PublishedSync
from latentsync.metrics.stable_sync import MAX_SHIFT, STRIDE, find_offset, load_stable_sync
from latentsync.types import SyncScore


class SyncScorer(Protocol):
    """Says how well the face of a clip and its audio agree."""

    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """``frames`` (H, W, 3) uint8 RGB at 25 per second, ``waveform`` (n,) float32 at 16 kHz. Raises ``DataError``
        for a clip that cannot be scored."""
        ...


class QualityScorer(Protocol):
    """Rates images."""

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


class OwnSyncScorer:
    """A network on pixels, from a file that ``latentsync train syncnet`` wrote.

    It is for people without the published files, or for another kind of face. It needs no face detector: the clip is
    aligned as its training clips were. Confidence is the mean cosine at the best shift less the median over all shifts
    (0 to 2), distance one less that cosine. Raises as ``load_stable_sync``.
    """

    def __init__(self, path: Path, device: str) -> None:
        self._sync = load_stable_sync(path, device=device)

    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """See ``SyncScorer``."""
        sync, mel = self._sync, syncnet_mel(waveform)
        n_starts = sync.count_windows(mel, len(frames))
        if n_starts < 2 * MAX_SHIFT:
            raise DataError(f"too short: {len(frames)} frames leave no room to shift the sound by {MAX_SHIFT}")
        faces = sync.crop(np.stack(frames))
        starts = np.arange(0, n_starts, STRIDE)
        windows = torch.stack([faces[start : start + sync.view.num_frames] for start in starts])
        audio = sync.embed_audio(sync.mel_windows(mel, n_starts))
        found = find_offset((sync.embed_frames(windows) @ audio.T).numpy(), starts)
        return SyncScore(found.confidence, -found.frames, 1 - found.cosine)  # early is positive there


class PublishedQualityScorer:
    """hyperIQA with its file from ``folder``."""

    def __init__(self, folder: Path, device: str) -> None:
        self._network = load_hyperiqa(folder / HYPERIQA_FILE, torch.device(device))

    def __call__(self, frames: Sequence[np.ndarray]) -> float:
        """See ``QualityScorer``."""
        return quality(self._network, frames)

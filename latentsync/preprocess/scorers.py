"""What steps 7 and 8 judge by: protocols, and the published networks behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from latentsync.errors import DataError
from latentsync.metrics.hyperiqa import load_hyperiqa, quality
from latentsync.metrics.s3fd import detect_faces, load_s3fd
from latentsync.metrics.sync_score import mean_score, sync_score
from latentsync.metrics.sync_tracks import BoxTrack, crop_face, crop_path, link_tracks, sound_of
from latentsync.metrics.syncnet_v2 import load_syncnet_v2
from latentsync.types import SyncScore

SYNCNET_V2, S3FD, HYPERIQA = "syncnet_v2.model", "sfd_face.pth", "koniq_pretrained.pkl"

_BATCH = 25  # frames that S3FD sees at once


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
    """S3FD finds the face, SyncNet v2 judges it: the published score, with its files from ``folder``."""

    def __init__(self, folder: Path, device: str) -> None:
        self._detector = load_s3fd(folder / S3FD, device)
        self._network = load_syncnet_v2(folder / SYNCNET_V2, device)

    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """See ``SyncScorer``. Several tracks give their mean, as published."""
        batches = [frames[start : start + _BATCH] for start in range(0, len(frames), _BATCH)]
        boxes = [found for batch in batches for found in detect_faces(self._detector, batch)]
        tracks = link_tracks(boxes)
        if not tracks:
            raise DataError("no track: the face detector of the sync score finds no face for longer than two seconds")
        return mean_score([self._track_score(frames, waveform, track) for track in tracks])

    def _track_score(self, frames: Sequence[np.ndarray], waveform: np.ndarray, track: BoxTrack) -> SyncScore:
        shown = frames[track.first_frame : track.first_frame + len(track.boxes)]
        crops = (crop_face(frame, *at) for frame, at in zip(shown, crop_path(track), strict=True))
        return sync_score(self._network, crops, sound_of(track, waveform))


class PublishedQualityScorer:
    """hyperIQA with its file from ``folder``."""

    def __init__(self, folder: Path, device: str) -> None:
        self._network = load_hyperiqa(folder / HYPERIQA, torch.device(device))

    def __call__(self, frames: Sequence[np.ndarray]) -> float:
        """See ``QualityScorer``."""
        return quality(self._network, frames)

"""A sync network of ours as the judge of step 7, for people without the published files, or for another kind of face.

It needs no face detector: the clip is aligned as its training clips were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.mel import syncnet_mel
from latentsync.errors import DataError
from latentsync.metrics.stable_sync import MAX_SHIFT, STRIDE, find_offset, load_stable_sync
from latentsync.types import SyncScore


class OwnSyncScorer:
    """A network on pixels, from a file that ``./train_syncnet.sh`` wrote.

    Confidence is the mean cosine at the best shift less the median over all shifts (0 to 2), distance one less that
    cosine. Raises as ``load_stable_sync``.
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

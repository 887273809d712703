"""How well mouth and sound fit over a whole clip whose frames come one after the other, as a sync network judges."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from latentsync.training.syncnet.model import (
    ClipOffset,
    SyncModel,
    best_shift,
    count_windows,
    embed_audio,
    embed_frames,
)

STRIDE = 4  # frames from one window that is looked at to the next
MAX_SHIFT = 15  # frames, either way


@dataclass(frozen=True, slots=True)
class SyncFit:
    """``cosine``: mean over the windows, 0 to 1, of the sound where it is; ``offset``: where it would fit best."""

    cosine: float
    offset: ClipOffset
    windows: int


class SyncTrace:
    """Give it the aligned faces of a clip at 25 frames/s, in order; ``mel`` (80, T) is the sound from frame 0 on.

    Keeps the embeddings of the windows, not the pictures.
    """

    def __init__(self, model: SyncModel, mel: np.ndarray) -> None:
        self._model = model
        self._mel = mel
        self._recent: deque[np.ndarray] = deque(maxlen=model.view.num_frames)
        self._frames = 0
        self._starts: list[int] = []
        self._seen: list[torch.Tensor] = []

    def add(self, face: np.ndarray | None) -> None:
        """The next face (H, W, 3) uint8; None where there is none: windows do not reach across it."""
        self._frames += 1
        if face is None:
            self._recent.clear()
            return
        self._recent.append(face)
        start = self._frames - self._model.view.num_frames
        if len(self._recent) == self._recent.maxlen and start % STRIDE == 0:
            self._starts.append(start)
            self._seen.append(embed_frames(self._model, np.stack(self._recent)))

    def finish(self) -> SyncFit | None:
        """None if there is not a single window with picture and sound."""
        n_windows = count_windows(self._model.view, self._mel, self._frames)
        starts = np.array([start for start in self._starts if start < n_windows])
        if not len(starts):
            return None
        cosines = (torch.cat(self._seen[: len(starts)]) @ embed_audio(self._model, self._mel, n_windows).T).numpy()
        at_home = cosines[np.arange(len(starts)), starts]
        return SyncFit(float(at_home.mean()), best_shift(cosines, starts, MAX_SHIFT), len(starts))

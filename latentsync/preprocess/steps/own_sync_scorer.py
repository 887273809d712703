"""A sync network of ours as the judge of step 7, for people without the published files, or for another kind of face.

It needs no face detector: the clip is aligned as its training clips were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.checkpoint import load_syncnet, read_card
from latentsync.constants import MODEL_FPS, SYNCNET_MEL_RATE
from latentsync.data.clip_reader import fit_frames
from latentsync.errors import DataError, WeightsMismatchError
from latentsync.levels import normalize
from latentsync.types import SyncScore

REACH = 15  # frames that the sound is shifted by, either way
_STEP = 4  # frames from one picture window to the next
_BATCH = 32  # windows that go through a tower at once


class OwnSyncScorer:
    """A pixel network on the lower half of the face, from a file that ``./train_syncnet.sh`` wrote.

    Confidence is the mean cosine at the best shift less the median over all shifts (0 to 2), distance one less that
    cosine. Raises ``WeightsMismatchError`` for another kind of file, and as ``load_syncnet``.
    """

    def __init__(self, path: Path, device: str) -> None:
        card = read_card(path)
        self._network = load_syncnet(path, device=device)
        frames = 0 if card is None or card.resolution is None else card.num_frames or 0
        if not frames or self._network.config.visual_encoder.in_channels != 3 * frames:
            raise WeightsMismatchError(
                f"{path} is no sync network on pixels that says its frames and resolution.",
                remedy="Use a file of ./train_syncnet.sh, or sync.scorer=syncnet_v2.",
            )
        self._frames, self._side, self._device = frames, card.resolution, device

    @torch.inference_mode()
    def __call__(self, frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
        """See ``SyncScorer``."""
        mel = syncnet_mel(waveform)
        heard_frames = int((mel.shape[1] - 1) * MODEL_FPS / SYNCNET_MEL_RATE)
        n_starts = min(len(frames), heard_frames) - self._frames + 1
        if n_starts < 2 * REACH:
            raise DataError(f"too short: {len(frames)} frames leave no room to shift the sound by {REACH}")
        starts = np.arange(0, n_starts, _STEP)
        seen = self._see(fit_frames(np.stack(frames), self._side), starts)
        windows = [mel_window(mel, start, self._frames)[None] for start in range(n_starts)]
        heard = self._embed(self._network.audio_encoder, torch.from_numpy(np.stack(windows)))
        return _best_shift((seen @ heard.T).cpu().numpy(), starts)

    def _see(self, faces: Tensor, starts: np.ndarray) -> Tensor:
        """faces (F, 3, R, R) uint8 -> (len(starts), E)"""
        halves = normalize(faces[:, :, self._side // 2 :])
        windows = torch.stack([halves[start : start + self._frames].flatten(0, 1) for start in starts])
        return self._embed(self._network.visual_encoder, windows)

    def _embed(self, tower: torch.nn.Module, inputs: Tensor) -> Tensor:
        return torch.cat([tower(part.to(self._device)) for part in inputs.split(_BATCH)])


def _best_shift(cosines: np.ndarray, starts: np.ndarray) -> SyncScore:
    """``cosines`` (W, S): picture window ``starts[w]`` against the sound from frame s on."""
    shifts = np.arange(-REACH, REACH + 1)
    means = []
    for shift in shifts:
        inside = (starts + shift >= 0) & (starts + shift < cosines.shape[1])
        means.append(cosines[inside, starts[inside] + shift].mean())
    best = int(np.argmax(means))
    # The sound that fits lies ``shift`` frames later: it is late by so much, so early by its negative.
    return SyncScore(float(means[best] - np.median(means)), -int(shifts[best]), float(1 - means[best]))

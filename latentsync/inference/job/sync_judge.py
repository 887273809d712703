"""The sync network that judges a dub (``inference.sync_gate``): which one there is, and from where on it is content.

A StableSyncNet gives a cosine for lips with audio at every shift. What says that lips follow the audio is not the
cosine itself, which depends on the face and on how much is said, but by how much it lies above the median over all
shifts: lips that were made for another audio are near 0 there (docs/experiments/sync-gate-2026-11.md).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, speaking_frames
from latentsync.checkpoint.card import read_config
from latentsync.config import load_config
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import WeightsMissingError
from latentsync.inference.record import SyncVerdict
from latentsync.inference.weights import WeightPaths
from latentsync.metrics.stable_sync import MAX_SHIFT, STRIDE, StableSync, find_offset, load_stable_sync
from latentsync.models.syncnet import SyncNetConfig
from latentsync.places import BUILTIN_SYNCNET, CONFIGS
from latentsync.recipe import SyncNetRecipe

LEAST_SPEECH = 25  # frames of a stretch, 1 s, in which somebody has to speak
LEAST_CONFIDENCE = 0.35  # cosine where the audio is, above the median over all shifts
PUBLISHED_FILE = "stable_syncnet.pt"  # of the releases 1.5 and 1.6
PUBLISHED_CONFIG = CONFIGS / "syncnet" / "syncnet_16_pixel_attn.yaml"


class StableSyncJudge:
    """A ``SyncJudge`` of one run; ``waveform`` (n,) float32 at 16 kHz is what the mouths should follow."""

    def __init__(self, sync: StableSync, waveform: np.ndarray) -> None:
        if sync.view.fps != MODEL_FPS:
            raise ValueError(f"the sync network looks at {sync.view.fps} frames/s")
        self._sync, self._waveform = sync, waveform
        self._speaks = speaking_frames(waveform, -(-len(waveform) // SAMPLES_PER_FRAME))

    def of(self, waveform: np.ndarray) -> StableSyncJudge:
        """The same network for other audio."""
        return StableSyncJudge(self._sync, waveform)

    def __call__(self, faces: np.ndarray, start: Fraction) -> SyncVerdict | None:
        """See ``SyncJudge``."""
        sync, per_frame = self._sync, SAMPLES_PER_FRAME
        first = round(start * AUDIO_RATE)
        if self._speaks[first // per_frame :][: len(faces)].sum() < LEAST_SPEECH:
            return None
        before = min(MAX_SHIFT, first // per_frame)  # frames of audio before the first face
        mel = syncnet_mel(self._waveform[first - before * per_frame : first + (len(faces) + MAX_SHIFT) * per_frame])
        n_windows = sync.count_windows(mel, before + len(faces) + MAX_SHIFT)
        starts = np.arange(0, min(len(faces) - sync.view.num_frames + 1, n_windows - before), STRIDE)
        if not len(starts):
            return None
        cropped = sync.crop(faces)
        windows = torch.stack([cropped[k : k + sync.view.num_frames] for k in starts.tolist()])
        audio = sync.embed_audio(sync.mel_windows(mel, n_windows))
        cosines = (sync.embed_frames(windows) @ audio.T).numpy()
        return verdict_on(cosines, starts + before)


def verdict_on(cosines: np.ndarray, starts: np.ndarray) -> SyncVerdict:
    """Of cosines (W, n_windows) of W windows of frames with the audio of all windows; theirs are at ``starts`` (W,)."""
    in_place = float(cosines[np.arange(len(starts)), starts].mean())
    best = find_offset(cosines, starts)
    confidence = in_place - (best.cosine - best.confidence)
    return SyncVerdict(in_place, confidence, best.frames, confidence >= LEAST_CONFIDENCE)


def sync_weights(weights: WeightPaths) -> Path:
    """The sync network that belongs to the ``weights`` of a run. Raises ``WeightsMissingError`` if it is not there."""
    path = BUILTIN_SYNCNET if weights.are_builtin else weights.codec.parent / PUBLISHED_FILE
    if not path.exists():
        raise WeightsMissingError(
            f"{path} is missing: --sync_gate needs a sync network.",
            remedy="Fetch it with `latentsync weights --for training`, or leave out --sync_gate.",
        )
    return path


def load_judge(weights: WeightPaths, waveform: np.ndarray, device: torch.device) -> StableSyncJudge:
    """The judge of a run; ``waveform`` as in ``StableSyncJudge``. Raises the ``WeightsError`` family."""
    return StableSyncJudge(load_sync(weights, device), waveform)


def load_sync(weights: WeightPaths, device: torch.device) -> StableSync:
    """The sync network that belongs to ``weights``. Raises the ``WeightsError`` family."""
    path = sync_weights(weights)
    if read_config(path) is not None:
        return load_stable_sync(path, device=device)
    recipe = load_config(PUBLISHED_CONFIG, SyncNetRecipe)
    return load_stable_sync(path, SyncNetConfig.from_dict(recipe.model), recipe.data.view, device=device)

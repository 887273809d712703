"""A sync network together with what it looks at, and its verdict on pairs and on whole clips.

N pairs · F frames · R face side · H = R, or R/2 for the lower half · E embedding width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from latentsync.audio.mel import mel_window
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import MelReader, fit_frames, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.data.syncnet_dataset import SyncNetDataset, SyncView, collate_sync
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.syncnet_objective import SyncScores, cosine_similarity
from latentsync.types import ClipFault

EMBED_BATCH = 32  # windows that go through a tower at once while a clip's offset is measured


@dataclass(frozen=True, slots=True)
class SyncModel:
    """``codec`` is set for a network on latents. ``network`` and ``codec`` are on the same device."""

    network: StableSyncNet
    view: SyncView
    codec: LatentCodec | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def visual_input(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """frames (N, F, 3, H, R) uint8 -> the picture tower's input, float32.

        Pixels (N, F*3, H, R) in [-1, 1]; with a codec latents (N, F*4, h, w), drawn from the posterior as published,
        with ``generator`` (None: the global one).
        """
        pixels = frames.float() / 127.5 - 1
        if self.codec is None:
            return pixels.flatten(1, 2)
        faces = pixels.flatten(0, 1)
        with torch.no_grad():
            shape = self.codec.encode(faces[:1]).shape[1:]
            eps = torch.randn(len(faces), *shape, generator=generator, device=faces.device)
            latents = self.codec.encode(faces, eps)
        return latents.unflatten(0, frames.shape[:2]).flatten(1, 2)


@torch.no_grad()
def score_pairs(
    model: SyncModel, dataset: SyncNetDataset, indices: Sequence[int], batch_size: int, num_workers: int = 0
) -> tuple[SyncScores, list[ClipFault]]:
    """Cosines of the samples ``indices`` of epoch 0, in that order, and the clips that had to be replaced."""
    loader = DataLoader(
        dataset,
        sampler=[SampleKey(0, index) for index in indices],
        batch_size=batch_size,
        collate_fn=collate_sync,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    cosines, labels, faults = [torch.zeros(0)], [torch.zeros(0)], []
    for batch in loader:
        draws = torch.Generator(model.device).manual_seed(len(labels))  # equal whatever was drawn before
        batch = batch.to(model.device)
        embeddings = model.network(model.visual_input(batch.frames, draws), batch.mel)
        cosines.append(cosine_similarity(*embeddings).cpu())
        labels.append(batch.labels.cpu())
        faults += [fault for origin in batch.origins for fault in origin.faults]
    return SyncScores(torch.cat(cosines), torch.cat(labels)), faults


@dataclass(frozen=True, slots=True)
class ClipOffset:
    """Where a clip's sound fits best: ``frames`` > 0 means that the sound comes that much too late.

    ``confidence`` is the cosine there minus the median over all shifts; near 0, nothing fits anywhere.
    """

    frames: int
    confidence: float


@torch.no_grad()
def measure_offset(model: SyncModel, clip: Clip, mels: MelReader, max_shift: int = 15, windows: int = 12) -> ClipOffset:
    """Compare ``windows`` picture windows, evenly spread, with the sound at every shift up to ``max_shift`` frames.

    Raises ``DataError`` if the clip cannot be read, ``ValueError`` if it is shorter than two windows.
    """
    view, mel = model.view, mels(clip)
    n_starts = min(clip.frames, int((mel.shape[1] - 1) * view.fps / 80)) - view.num_frames + 1
    if n_starts < view.num_frames:
        raise ValueError(f"{clip.path} is too short to measure its offset")
    starts = np.unique(np.linspace(0, n_starts - 1, windows).round().astype(int))
    sound = np.stack([mel_window(mel, start, view.num_frames, view.fps)[None] for start in range(n_starts)])
    heard = torch.cat(
        [model.network.audio_encoder(part.to(model.device)) for part in torch.from_numpy(sound).split(EMBED_BATCH)]
    )
    seen = torch.cat([_see(model, clip, int(start)) for start in starts])
    cosines = (seen.float() @ heard.float().T).cpu().numpy()  # (windows, n_starts)
    shifts = np.arange(-max_shift, max_shift + 1)
    means = np.full(len(shifts), np.nan)
    for k, shift in enumerate(shifts):
        inside = (starts + shift >= 0) & (starts + shift < n_starts)
        if inside.sum() * 3 >= len(starts):  # fewer windows than a third say nothing
            means[k] = cosines[inside, starts[inside] + shift].mean()
    best = int(np.nanargmax(means))
    return ClipOffset(int(shifts[best]), float(means[best] - np.nanmedian(means)))


def _see(model: SyncModel, clip: Clip, start: int) -> Tensor:
    """(1, E) embedding of the picture window at ``start``."""
    view = model.view
    frames = fit_frames(read_clip_frames(clip, start, view.num_frames), view.resolution)
    frames = frames[:, :, view.resolution // 2 :] if view.lower_half else frames
    return model.network.visual_encoder(model.visual_input(frames[None].to(model.device)))

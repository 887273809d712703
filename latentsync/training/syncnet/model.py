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
from latentsync.constants import SYNCNET_MEL_RATE
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import MelReader, fit_frames, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.data.syncnet_dataset import SyncNetDataset, SyncView, collate_sync
from latentsync.errors import DataError
from latentsync.levels import normalize
from latentsync.losses.sync import cosine_similarity
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, select_latent_input
from latentsync.training.syncnet.objective import SyncScores
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

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return next(self.network.parameters()).dtype

    def visual_input(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``frames`` of a batch (see ``types.SyncBatch``) -> the picture tower's input, float32.

        Pixels (N, F*3, H, R) in [-1, 1]; with a codec latents (N, F*C, h, w), drawn from the posterior as published,
        with ``generator`` (None: the global one), and cut to their lower half if the view asks for it.
        """
        if self.codec is None:
            return normalize(frames).flatten(1, 2)
        mean, deviation = self._moments(frames)
        eps = torch.randn(mean.shape, generator=generator, device=mean.device)
        return select_latent_input(mean + deviation * eps, self.view.lower_half)

    @torch.no_grad()
    def _moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N, F, C, h, w) of the latents, as they came or encoded here."""
        if frames.is_floating_point():
            return frames.unbind(dim=2)
        moments = self.codec.posterior(normalize(frames.flatten(0, 1)))
        mean, deviation = (part.unflatten(0, frames.shape[:2]) for part in moments)
        return mean, deviation


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


def measure_offset(model: SyncModel, clip: Clip, mels: MelReader, max_shift: int = 15, windows: int = 12) -> ClipOffset:
    """Compare ``windows`` picture windows, evenly spread, with the sound at every shift up to ``max_shift`` frames.

    Raises ``DataError`` if the clip cannot be read or is shorter than two windows.
    """
    view, mel = model.view, mels(clip)
    n_starts = count_windows(view, mel, clip.frames)
    if n_starts < view.num_frames:
        raise DataError(f"too short to measure its offset: pictures and sound give {max(0, n_starts)} windows")
    starts = np.unique(np.linspace(0, n_starts - 1, windows).round().astype(int))
    heard = embed_audio(model, mel, n_starts)
    seen = torch.cat([embed_frames(model, read_clip_frames(clip, int(start), view.num_frames)) for start in starts])
    return best_shift((seen @ heard.T).numpy(), starts, max_shift)


def count_windows(view: SyncView, mel: np.ndarray, n_frames: int) -> int:
    """Windows that lie wholly inside ``n_frames`` pictures and the sound of ``mel`` (80, T); less than 1 if none."""
    return min(n_frames, int((mel.shape[1] - 1) * view.fps / SYNCNET_MEL_RATE)) - view.num_frames + 1


@torch.no_grad()
def embed_audio(model: SyncModel, mel: np.ndarray, n_windows: int) -> Tensor:
    """(n_windows, E) float32 on the CPU: the sound of the windows that start at frames 0, 1, 2, ..."""
    view = model.view
    sound = np.stack([mel_window(mel, start, view.num_frames, view.fps)[None] for start in range(n_windows)])
    parts = (part.to(model.device, model.dtype) for part in torch.from_numpy(sound).split(EMBED_BATCH))
    return torch.cat([model.network.audio_encoder(part).float().cpu() for part in parts])


@torch.no_grad()
def embed_frames(model: SyncModel, frames: np.ndarray) -> Tensor:
    """(1, E) float32 on the CPU: the picture window ``frames`` (F, H, W, 3) uint8 of whole faces."""
    view = model.view
    faces = fit_frames(frames, view.resolution)
    faces = faces[:, :, view.resolution // 2 :] if view.cuts_pixels else faces
    draws = torch.Generator(model.device).manual_seed(0)  # of a codec; equal whatever was drawn before
    visual = model.visual_input(faces[None].to(model.device), draws).to(model.dtype)
    return model.network.visual_encoder(visual).float().cpu()


def best_shift(cosines: np.ndarray, starts: np.ndarray, max_shift: int) -> ClipOffset:
    """The shift of the sound with the highest mean cosine.

    ``cosines`` (W, n_windows) of W picture windows, which start at ``starts``, with the sound of all windows.
    """
    shifts = np.arange(-max_shift, max_shift + 1)
    means = np.full(len(shifts), np.nan)
    for k, shift in enumerate(shifts):
        inside = (starts + shift >= 0) & (starts + shift < cosines.shape[1])
        if inside.sum() * 3 >= len(starts):  # fewer windows than a third say nothing
            means[k] = cosines[inside, starts[inside] + shift].mean()
    best = int(np.nanargmax(means))
    return ClipOffset(int(shifts[best]), float(means[best] - np.nanmedian(means)))

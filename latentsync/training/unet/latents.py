"""A training batch in latent space, and the random draws of a training step.

B clips · F frames · C latent channels (4 in every release) · R face side · h = w = R/8
S audio tokens of width D per frame · M mel frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.constants import LATENT_CHANNELS, LATENT_DOWNSCALE
from latentsync.data.batches import SampleOrigin, UNetBatch
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import mixed_noise
from latentsync.models.codec import LatentCodec


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """What the U-Net's losses are computed from, on one device, float32.

    ``target`` (B, C, F, h, w) latents of the ground truth and ``pixels`` (B, F, 3, R, R) in [-1, 1] the same as
    faces, None where no loss looks at them; ``audio`` (B, F, S, D); ``mel`` (B, 1, 80, M) in [-4, 4], None where no
    sync network takes part; ``audio_kept`` (B,) 1 where ``audio`` is that of the clip and 0 where it was dropped.
    """

    target: Tensor
    conditioning: Conditioning
    audio: Tensor
    pixels: Tensor | None
    mel: Tensor | None
    audio_kept: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PosteriorBatch:
    """As ``data.batches.UNetBatch``, with what the codec says of the faces in place of the faces.

    ``target``, ``masked`` and ``reference`` (B, F, 2, C, h, w) float32: mean and standard deviation of the latents.
    ``pixels`` (B, F, 3, R, R) in [-1, 1] of the target, None where no loss looks at them.
    """

    target: Tensor
    masked: Tensor
    reference: Tensor
    pixels: Tensor | None
    keep_mask: Tensor
    audio: Tensor
    mel: Tensor | None
    origins: tuple[SampleOrigin, ...]

    def to(self, device: torch.device | str) -> PosteriorBatch:
        """The same batch with its tensors on ``device``."""
        return PosteriorBatch(
            target=self.target.to(device),
            masked=self.masked.to(device),
            reference=self.reference.to(device),
            pixels=None if self.pixels is None else self.pixels.to(device),
            keep_mask=self.keep_mask.to(device),
            audio=self.audio.to(device),
            mel=None if self.mel is None else self.mel.to(device),
            origins=self.origins,
        )


@dataclass(frozen=True, slots=True)
class StepDraws:
    """Training step of the noise schedule for each clip, (B,) int64, and the noise, (B, C, F, h, w)."""

    timesteps: Tensor
    noise: Tensor


def draw_posterior(
    generator: torch.Generator, batch: int, frames: int, side: int, channels: int = LATENT_CHANNELS
) -> Tensor:
    """Standard normal (3, B, F, C, side, side) for ``encode_batch``: target, masked, reference, in this order."""
    shape = (3, batch, frames, channels, side, side)
    return torch.randn(shape, generator=generator, device=generator.device)


def draw_step(
    generator: torch.Generator,
    batch: int,
    frames: int,
    side: int,
    n_timesteps: int,
    mixed_noise_alpha: float | None,
    channels: int = LATENT_CHANNELS,
) -> StepDraws:
    """Time steps, uniform in [0, n_timesteps), then noise for latents ``side`` cells wide, on the generator's device.

    ``mixed_noise_alpha``: see ``diffusion.noise.mixed_noise``; None = all frames of a clip have the same noise.
    """
    timesteps = torch.randint(n_timesteps, (batch,), generator=generator, device=generator.device)
    if mixed_noise_alpha is not None:
        return StepDraws(timesteps, mixed_noise(generator, batch, frames, side, side, mixed_noise_alpha, channels))
    shape = (batch, channels, 1, side, side)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return StepDraws(timesteps, noise.expand(-1, -1, frames, -1, -1))


@dataclass(frozen=True, slots=True)
class Noise:
    """How noise is drawn.

    ``mixed_alpha``: see ``draw_step``. ``audio_dropout``: share of the clips whose audio is dropped, see
    ``objective.drop_audio``. ``channels``: C of the latents.
    """

    n_timesteps: int
    mixed_alpha: float | None
    audio_dropout: float
    channels: int = LATENT_CHANNELS

    def draw(self, seeds: Sequence[int], frames: int, resolution: int) -> tuple[Tensor, StepDraws, Tensor]:
        """Posterior draws (3, B, F, C, h, w), draws of the step, and ``audio_kept`` (B,), on the CPU."""
        side = resolution // LATENT_DOWNSCALE
        posteriors, steps, audio_kept = [], [], []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            posteriors.append(draw_posterior(generator, 1, frames, side, self.channels))
            steps.append(draw_step(generator, 1, frames, side, self.n_timesteps, self.mixed_alpha, self.channels))
            audio_kept.append(torch.rand(1, generator=generator) >= self.audio_dropout)
        draws = StepDraws(torch.cat([s.timesteps for s in steps]), torch.cat([s.noise for s in steps]))
        return torch.cat(posteriors, dim=1), draws, torch.cat(audio_kept).float()


@torch.no_grad()
def encode_batch(codec: LatentCodec, batch: UNetBatch, posterior: Tensor) -> LatentBatch:
    """``posterior`` (3, B, F, C, h, w) as from ``draw_posterior``: what is drawn of each face's latents."""
    frames = batch.target.shape[:2]
    target, masked, reference = (
        codec.encode(pixels.flatten(0, 1), eps.flatten(0, 1).to(pixels.device)).unflatten(0, frames).transpose(1, 2)
        for pixels, eps in zip((batch.target, batch.masked, batch.reference), posterior, strict=True)
    )
    return _assemble(batch, target, masked, reference, batch.target)


def draw_latents(batch: PosteriorBatch, posterior: Tensor) -> LatentBatch:
    """What ``encode_batch`` gives, without encoding."""
    target, masked, reference = (
        (moments[:, :, 0] + moments[:, :, 1] * eps.to(moments.device)).transpose(1, 2)
        for moments, eps in zip((batch.target, batch.masked, batch.reference), posterior, strict=True)
    )
    return _assemble(batch, target, masked, reference, batch.pixels)


def _assemble(
    batch: UNetBatch | PosteriorBatch, target: Tensor, masked: Tensor, reference: Tensor, pixels: Tensor | None
) -> LatentBatch:
    clips, _, frames = target.shape[:3]
    keep_mask = latent_mask(batch.keep_mask).expand(clips, 1, frames, -1, -1)
    return LatentBatch(target, Conditioning(keep_mask, masked, reference), batch.audio, pixels, batch.mel)

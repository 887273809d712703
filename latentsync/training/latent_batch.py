"""A training batch in latent space, and the random draws of a training step.

B clips · F frames · R face side · h = w = R/8 · S audio tokens of width D per frame · M mel frames
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.constants import LATENT_CHANNELS
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import mixed_noise
from latentsync.models.codec import LatentCodec
from latentsync.types import UNetBatch


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """What the U-Net's losses are computed from, on one device, float32.

    ``target`` (B, 4, F, h, w) latents of the ground truth and ``pixels`` (B, F, 3, R, R) in [-1, 1] the same as
    pictures, None where no loss looks at them; ``audio`` (B, F, S, D); ``mel`` (B, 1, 80, M) in [-4, 4], None where no
    sync network listens.
    """

    target: Tensor
    conditioning: Conditioning
    audio: Tensor
    pixels: Tensor | None
    mel: Tensor | None


@dataclass(frozen=True, slots=True)
class StepDraws:
    """Training step of the noise schedule for each clip, (B,) int64, and the noise, (B, 4, F, h, w)."""

    timesteps: Tensor
    noise: Tensor


def draw_posterior(generator: torch.Generator, batch: int, frames: int, side: int) -> Tensor:
    """Standard normal (3, B, F, 4, side, side) for ``encode_batch``: target, masked, reference, in this order."""
    shape = (3, batch, frames, LATENT_CHANNELS, side, side)
    return torch.randn(shape, generator=generator, device=generator.device)


def draw_step(
    generator: torch.Generator, batch: int, frames: int, side: int, n_timesteps: int, mixed_noise_alpha: float | None
) -> StepDraws:
    """Time steps, uniform in [0, n_timesteps), then noise for latents ``side`` cells wide, on the generator's device.

    ``mixed_noise_alpha``: see ``diffusion.noise.mix_noise``; None = all frames of a clip have the same noise.
    """
    timesteps = torch.randint(n_timesteps, (batch,), generator=generator, device=generator.device)
    if mixed_noise_alpha is not None:
        return StepDraws(timesteps, mixed_noise(generator, batch, frames, side, side, mixed_noise_alpha))
    shape = (batch, LATENT_CHANNELS, 1, side, side)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return StepDraws(timesteps, noise.expand(-1, -1, frames, -1, -1))


@torch.no_grad()
def encode_batch(codec: LatentCodec, batch: UNetBatch, posterior: Tensor) -> LatentBatch:
    """``posterior`` (3, B, F, 4, h, w) as from ``draw_posterior``: what is drawn of each picture's latents."""
    frames = batch.target.shape[:2]
    target, masked, reference = (
        codec.encode(pixels.flatten(0, 1), eps.flatten(0, 1).to(pixels.device)).unflatten(0, frames).transpose(1, 2)
        for pixels, eps in zip((batch.target, batch.masked, batch.reference), posterior, strict=True)
    )
    keep_mask = latent_mask(batch.keep_mask).expand(frames[0], 1, frames[1], -1, -1)
    return LatentBatch(target, Conditioning(keep_mask, masked, reference), batch.audio, batch.target, batch.mel)

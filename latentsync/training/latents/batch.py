"""A training batch in latent space, and the random draws of a training step.

B clips · F frames · C latent channels (4 in every release) · R face side · h = w = R/8
S audio tokens of width D per frame · M mel frames
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from latentsync.constants import LATENT_CHANNELS
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import mixed_noise
from latentsync.models.codec import LatentCodec
from latentsync.types import SampleOrigin, UNetBatch


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """What the U-Net's losses are computed from, on one device, float32.

    ``target`` (B, C, F, h, w) latents of the ground truth and ``pixels`` (B, F, 3, R, R) in [-1, 1] the same as
    pictures, None where no loss looks at them; ``audio`` (B, F, S, D); ``mel`` (B, 1, 80, M) in [-4, 4], None where no
    sync network listens; ``heard`` (B,) 1 where ``audio`` is the sound and 0 where it was taken away.
    """

    target: Tensor
    conditioning: Conditioning
    audio: Tensor
    pixels: Tensor | None
    mel: Tensor | None
    heard: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PosteriorBatch:
    """As ``types.UNetBatch``, with what the codec says of the pictures in place of the pictures.

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
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return PosteriorBatch(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()})


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

    ``mixed_noise_alpha``: see ``diffusion.noise.mix_noise``; None = all frames of a clip have the same noise.
    """
    timesteps = torch.randint(n_timesteps, (batch,), generator=generator, device=generator.device)
    if mixed_noise_alpha is not None:
        return StepDraws(timesteps, mixed_noise(generator, batch, frames, side, side, mixed_noise_alpha, channels))
    shape = (batch, channels, 1, side, side)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return StepDraws(timesteps, noise.expand(-1, -1, frames, -1, -1))


@torch.no_grad()
def encode_batch(codec: LatentCodec, batch: UNetBatch, posterior: Tensor) -> LatentBatch:
    """``posterior`` (3, B, F, C, h, w) as from ``draw_posterior``: what is drawn of each picture's latents."""
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


def drop_audio(batch: LatentBatch, heard: Tensor) -> LatentBatch:
    """Take the sound from the clips where ``heard`` (B,) is 0: what guidance contrasts with, all-zero tokens."""
    heard = heard.to(batch.audio)
    return replace(batch, audio=batch.audio * heard[:, None, None, None], heard=heard)


def _assemble(
    batch: UNetBatch | PosteriorBatch, target: Tensor, masked: Tensor, reference: Tensor, pixels: Tensor | None
) -> LatentBatch:
    clips, _, frames = target.shape[:3]
    keep_mask = latent_mask(batch.keep_mask).expand(clips, 1, frames, -1, -1)
    return LatentBatch(target, Conditioning(keep_mask, masked, reference), batch.audio, pixels, batch.mel)

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
from latentsync.data.batches import SampleOrigin, TensorBatch, UNetBatch
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import mixed_noise
from latentsync.diffusion.schedule import TRAINING_STEPS
from latentsync.levels import normalize
from latentsync.models.codec import LatentCodec


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """What the U-Net's losses are computed from, on one device, float32.

    ``target`` (B, C, F, h, w) latents of the ground truth and ``pixels`` (B, F, 3, R, R) in [-1, 1] the same as
    faces, None where no loss looks at them; ``audio`` (B, F, S, D); ``mel`` (B, 1, 80, M) in [-4, 4], None where no
    sync network takes part; ``audio_kept`` (B,) 1 where ``audio`` is that of the clip and 0 where it was dropped;
    ``mouth_seen`` (B,) 0 where something comes before the mouth. Of both, None means 1 everywhere.
    """

    target: Tensor
    conditioning: Conditioning
    audio: Tensor
    pixels: Tensor | None
    mel: Tensor | None
    audio_kept: Tensor | None = None
    mouth_seen: Tensor | None = None

    @property
    def can_be_in_sync(self) -> Tensor | None:
        """(B,) 1 where frames and audio can be judged together, else 0; None where all can."""
        if self.audio_kept is None or self.mouth_seen is None:
            return self.mouth_seen if self.audio_kept is None else self.audio_kept
        return self.audio_kept * self.mouth_seen


@dataclass(frozen=True, slots=True)
class PosteriorBatch(TensorBatch):
    """As ``data.batches.UNetBatch``, with what the codec says of the faces in place of the faces.

    ``target``, ``masked`` and ``reference`` (B, F, 2, C, h, w) float32: mean and standard deviation of the latents.
    ``pixels`` (B, F, 3, R, R) uint8 RGB of the target, None where no loss looks at them.
    """

    target: Tensor
    masked: Tensor
    reference: Tensor
    pixels: Tensor | None
    keep_mask: Tensor
    audio: Tensor
    mel: Tensor | None
    origins: tuple[SampleOrigin, ...]
    mouth_seen: Tensor | None = None


@dataclass(frozen=True, slots=True)
class StepDraws(TensorBatch):
    """Training step of the noise schedule for each clip, (B,) int64, and the noise, (B, C, F, h, w)."""

    timesteps: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Draws(TensorBatch):
    """Everything that is drawn for B clips: ``posterior`` (3, B, F, C, h, w) as from ``draw_posterior``, the ``step``,
    and ``audio_kept`` (B,) float32, 0 where the audio is dropped; None where it never is."""

    posterior: Tensor
    step: StepDraws
    audio_kept: Tensor | None


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

    ``frames``, ``resolution``: of a window. ``mixed_alpha``: see ``draw_step``. ``audio_dropout``: share of the clips
    whose audio is dropped, see ``objective.drop_audio``. ``channels``: C of the latents.
    """

    frames: int
    resolution: int
    mixed_alpha: float | None
    audio_dropout: float
    channels: int = LATENT_CHANNELS

    def draw(self, seed: int) -> Draws:
        """What ``seed`` gives for one clip, on the CPU."""
        side = self.resolution // LATENT_DOWNSCALE
        generator = torch.Generator().manual_seed(seed)
        posterior = draw_posterior(generator, 1, self.frames, side, self.channels)
        step = draw_step(generator, 1, self.frames, side, TRAINING_STEPS, self.mixed_alpha, self.channels)
        kept = (torch.rand(1, generator=generator) >= self.audio_dropout).float() if self.audio_dropout else None
        return Draws(posterior, step, kept)


def stack_draws(draws: Sequence[Draws]) -> Draws:
    """Those of several clips as one."""
    kept = [each.audio_kept for each in draws if each.audio_kept is not None]
    return Draws(
        torch.cat([each.posterior for each in draws], dim=1),
        StepDraws(torch.cat([each.step.timesteps for each in draws]), torch.cat([each.step.noise for each in draws])),
        torch.cat(kept) if kept else None,
    )


def encode_batch(codec: LatentCodec, batch: UNetBatch, posterior: Tensor) -> LatentBatch:
    """``posterior`` (3, B, F, C, h, w) as from ``draw_posterior``: what is drawn of each face's latents."""
    target, reference = normalize(batch.target), normalize(batch.reference)
    return encode_faces(codec, (target, target * batch.keep_mask, reference), batch, posterior)


@torch.no_grad()
def encode_faces(
    codec: LatentCodec, faces: tuple[Tensor, Tensor, Tensor], batch: UNetBatch, posterior: Tensor
) -> LatentBatch:
    """``faces``: target, masked and reference of ``batch``, each (B, F, 3, R, R) float32 in [-1, 1]; the hole of the
    masked ones is 0, mid-grey."""
    frames = batch.target.shape[:2]
    target, masked, reference = (
        codec.encode(pixels.flatten(0, 1), eps.flatten(0, 1)).unflatten(0, frames).transpose(1, 2)
        for pixels, eps in zip(faces, posterior, strict=True)
    )
    return _assemble(batch, target, masked, reference, faces[0])


def draw_latents(batch: PosteriorBatch, posterior: Tensor) -> LatentBatch:
    """What ``encode_batch`` gives, without encoding."""
    target, masked, reference = (
        (moments[:, :, 0] + moments[:, :, 1] * eps).transpose(1, 2)
        for moments, eps in zip((batch.target, batch.masked, batch.reference), posterior, strict=True)
    )
    return _assemble(batch, target, masked, reference, None if batch.pixels is None else normalize(batch.pixels))


def _assemble(
    batch: UNetBatch | PosteriorBatch, target: Tensor, masked: Tensor, reference: Tensor, pixels: Tensor | None
) -> LatentBatch:
    clips, _, frames = target.shape[:3]
    keep_mask = latent_mask(batch.keep_mask).expand(clips, 1, frames, -1, -1)
    conditioning = Conditioning(keep_mask, masked, reference)
    return LatentBatch(target, conditioning, batch.audio, pixels, batch.mel, mouth_seen=batch.mouth_seen)

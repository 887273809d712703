"""What the U-Net is trained for: the noise, and the losses on the face that it implies (arXiv 2412.09262).

Guidance contrasts with audio that is all zeros; for that ``drop_audio`` takes the audio from some clips of a batch.

B clips · F frames · R face side · h = w = R/8
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.diffusion.conditioning import build_unet_input
from latentsync.diffusion.noise import LevelWeighting, add_noise, estimate_clean, level_weights
from latentsync.diffusion.schedule import make_scheduler
from latentsync.errors import ConfigError
from latentsync.losses.reconstruction import PerceptualLoss, movement_loss, noise_loss
from latentsync.losses.sync import LatentSyncLoss, PixelSyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.codec import LatentCodec
from latentsync.training.unet.gradient_watch import GradientWatch
from latentsync.training.unet.latents import LatentBatch, StepDraws
from latentsync.types import Denoiser, Losses


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors of the losses in the total, and what they depend on. The defaults are those of the published stage 2."""

    recon: float = 1.0
    sync: float = 0.05
    perceptual: float = 0.1
    trepa: float = 10.0
    # not in the published recipe
    levels: LevelWeighting = "uniform"  # of the losses on the one-step estimate, by noise level
    recon_levels: LevelWeighting = "uniform"  # of the reconstruction loss
    kept_area: float = 1.0  # of latent cells outside the area to be generated, in the reconstruction loss
    movement: float = 0.0  # of the changes between frames


def drop_audio(batch: LatentBatch, audio_kept: Tensor) -> LatentBatch:
    """Guidance dropout: all-zero audio tokens for the clips where ``audio_kept`` (B,) is 0 (Ho and Salimans 2022,
    arXiv 2207.12598)."""
    audio_kept = audio_kept.to(batch.audio)
    return replace(batch, audio=batch.audio * audio_kept[:, None, None, None], audio_kept=audio_kept)


class UNetObjective:
    """Batch and draws -> losses. A loss that is not given is not computed; with none of them only the noise counts.

    ``codec`` decodes for the losses on pixels. It is frozen here; gradients pass through it.
    """

    def __init__(
        self,
        codec: LatentCodec,
        weights: LossWeights,
        *,
        sync: PixelSyncLoss | LatentSyncLoss | None = None,
        perceptual: PerceptualLoss | None = None,
        trepa: TrepaLoss | None = None,
    ) -> None:
        self.codec = codec.eval().requires_grad_(False)
        self._weights = weights
        self._sync = sync
        self._perceptual = perceptual
        self._trepa = trepa
        given = {"sync": sync, "perceptual": perceptual, "trepa": trepa}
        self._on_pixels = [n for n, x in given.items() if x is not None and not isinstance(x, LatentSyncLoss)]
        self._watch = GradientWatch((), lambda silent: None)
        scheduler: Any = make_scheduler("ddim")  # diffusers states the attribute for no scheduler
        alpha_bars: Tensor = scheduler.alphas_cumprod
        # By noise level, (3, T): alpha bar, the weight of the losses on the estimate, that of the reconstruction loss.
        both = [level_weights(alpha_bars, each) for each in (weights.levels, weights.recon_levels)]
        self._levels = torch.stack([alpha_bars, *both])

    def watch_gradients(self, report: Callable[[list[str]], None]) -> None:
        """Call ``report`` at the first step with the names of the losses that send no gradient to the U-Net, if there
        are any. Those of weight 0 are none."""
        on_latents = (["sync"] if isinstance(self._sync, LatentSyncLoss) else []) + ["movement"]
        names = [name for name in (*self._on_pixels, *on_latents) if getattr(self._weights, name)]
        self._watch = GradientWatch(names, report)

    def __call__(self, unet: Denoiser, batch: LatentBatch, draws: StepDraws) -> Losses:
        """The losses of one step; ``batch`` and ``draws`` lie on one device.

        Raises ``ValueError`` if a loss needs pixels or audio that ``batch`` does not bring.
        """
        self._levels = self._levels.to(batch.target.device)
        noise, (alpha_bar, level_weight, recon_weight) = draws.noise, self._levels[:, draws.timesteps]
        noisy = add_noise(batch.target, noise, alpha_bar)
        predicted = unet(build_unet_input(noisy, batch.conditioning), draws.timesteps, batch.audio).float()
        weighted = None if self._weights.recon_levels == "uniform" else recon_weight
        recon = noise_loss(predicted, noise, batch.conditioning.keep_mask, self._weights.kept_area, weighted)
        estimate = self._watch.root(estimate_clean(noisy, predicted, alpha_bar))
        return self._with_estimate(recon, estimate, batch, level_weight)

    def _with_estimate(
        self, recon: Tensor, estimate: Tensor, batch: LatentBatch, level_weight: Tensor | float
    ) -> Losses:
        """``recon`` and the losses on ``estimate``, which ``self._watch`` has seen as root; ``level_weight`` (B,), or a
        number for all clips."""
        per_clip = self._estimate_losses(estimate, batch)
        # Asking the device for it is for the first step only.
        judged = batch.can_be_in_sync
        any_judged = judged is None or not self._watch.active or bool(judged.any())
        self._watch.expect({name: values for name, values in per_clip.items() if any_judged or name != "sync"})
        if judged is not None and "sync" in per_clip:  # without audio, or a mouth that is seen, nothing is out of sync
            per_clip["sync"] = per_clip["sync"] * judged
        means = {name: (level_weight * values).mean() for name, values in per_clip.items()}
        total = self._weights.recon * recon
        for name, value in means.items():
            total = total + getattr(self._weights, name) * value
        return Losses(total=total, recon=recon, **means)

    def _estimate_losses(self, latents: Tensor, batch: LatentBatch) -> dict[str, Tensor]:
        """The losses on the one-step estimate (B, 4, F, h, w), by name, one value for each clip (B,)."""
        losses, tap = {}, self._watch.tap
        if self._weights.movement:
            losses["movement"] = movement_loss(tap(latents, "movement"), batch.target, batch.conditioning.keep_mask)
        if isinstance(self._sync, LatentSyncLoss):
            losses["sync"] = self._sync(tap(latents, "sync"), _mel_of(batch))
        if not self._on_pixels:
            return losses
        if batch.pixels is None:
            raise ValueError("a loss on pixels needs the ground truth in pixels, which the batch does not bring")
        decoded = self.codec.decode(tap(latents, *self._on_pixels).transpose(1, 2).flatten(0, 1))
        pixels = decoded.unflatten(0, batch.pixels.shape[:2])
        if isinstance(self._sync, PixelSyncLoss):
            losses["sync"] = self._sync(tap(pixels, "sync"), _mel_of(batch))
        if self._perceptual is not None:
            losses["perceptual"] = self._perceptual(tap(pixels, "perceptual"), batch.pixels)
        if self._trepa is not None:
            losses["trepa"] = self._trepa(tap(pixels, "trepa"), batch.pixels)
        return losses


def _mel_of(batch: LatentBatch) -> Tensor:
    if batch.mel is None:
        raise ValueError("the sync loss needs mel spectrograms, which the batch does not bring")
    return batch.mel


def trainable_parameters(unet: nn.Module, patterns: Sequence[str] | None) -> dict[str, nn.Parameter]:
    """The parameters whose name contains one of ``patterns``; all of them if there are none.

    The published second stage names ``motion_modules.`` and ``attentions.``. Raises ``ConfigError`` for a pattern that
    fits no name.
    """
    named = dict(unet.named_parameters())
    if not patterns:
        return named
    for pattern in patterns:
        if not any(pattern in name for name in named):
            raise ConfigError(
                f"run.trainable_modules names '{pattern}', which no parameter of the U-Net has in its name.",
                remedy="Motion modules exist only where model.use_motion_module is true; the published entries are "
                "'motion_modules.', 'attentions.' and 'attn2.'.",
            )
    return {name: parameter for name, parameter in named.items() if any(pattern in name for pattern in patterns)}

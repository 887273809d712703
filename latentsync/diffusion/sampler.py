"""The denoising loop: from noise and conditioning to clean latents, for any callable that predicts noise.

B windows · F frames · C latent channels · S audio tokens per frame · D their width · h, w latent cells

``StepCache`` reuses the U-Net's deep features over neighbouring steps (DeepCache, Ma et al. 2023). They change slowly
from step to step, so only every so many steps compute the whole network; the steps between compute the outermost layers
on the features kept from the last full step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentsync.diffusion.conditioning import Conditioning, build_unet_input
from latentsync.diffusion.schedule import make_scheduler
from latentsync.diffusion.settings import SamplerSettings
from latentsync.types import Denoiser, FeatureCache


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    conditioning: Conditioning,
    audio: Tensor,
    noise: Tensor,
    settings: SamplerSettings,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Denoise B windows together: audio (B, F, S, D), noise (B, C, F, h, w) -> latents (B, C, F, h, w).

    All tensors have one dtype and device, and so has the result. Guidance (Ho and Salimans 2022) contrasts the audio
    with tokens that are all zero: one call with 2 B windows, those with zero tokens first. Steps outside the guidance
    band are one call with B windows. ``on_step(index, latents)`` is called after each step. The loop itself never waits
    for the device.
    """
    scheduler = make_scheduler(settings.scheduler, settings.timesteps, settings.prediction)
    scheduler.set_timesteps(settings.steps)
    cache = StepCache(settings.cache_interval)
    both = torch.cat([torch.zeros_like(audio), audio]) if settings.guided else audio

    latents = noise
    for index, timestep in enumerate(scheduler.timesteps):
        guided = settings.guided_at(int(timestep))
        unet_input = build_unet_input(latents, conditioning)
        if guided:
            unet_input = torch.cat([unet_input, unet_input])
        tokens = both if guided else audio
        # The scheduler keeps its time steps on the CPU. A copy would wait for the device, a constant does not.
        level = torch.full((), int(timestep), device=noise.device)
        predicted = denoiser(unet_input, level, tokens, feature_cache=cache.at(index, guided))
        if guided:
            unconditional, conditional = predicted.chunk(2)
            predicted = unconditional + settings.guidance_scale * (conditional - unconditional)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if on_step is not None:
            on_step(index, latents)
    return latents


class StepCache:
    """What the denoiser may reuse at each step of one sampling run. ``interval`` 1 is off; published: 3."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._features = FeatureCache()
        self._guided = True  # whether the kept features are of a guided step: twice the windows, with audio second

    def at(self, index: int, guided: bool = True) -> FeatureCache | None:
        """The cache to hand to the denoiser at step ``index`` (from 0), or None when caching is off.

        ``guided``: whether the step is guided. At the first step without guidance the kept features of the windows with
        audio are reused; at the first step with guidance the whole network runs.
        """
        if self._interval == 1:
            return None
        features = self._features
        features.reuse = index % self._interval != 0 and (self._guided or not guided)
        if features.hidden is not None and features.reuse and self._guided and not guided:
            features.hidden = features.hidden.chunk(2)[1]
        self._guided = guided
        return features

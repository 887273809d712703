"""The denoising loop: from noise and conditioning to clean latents, for any callable that predicts noise.

B windows · F frames · S audio tokens per frame · D their width · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentsync.diffusion.conditioning import Conditioning, build_unet_input
from latentsync.diffusion.schedule import make_scheduler
from latentsync.diffusion.settings import SamplerSettings
from latentsync.diffusion.step_cache import StepCache
from latentsync.types import Denoiser


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    conditioning: Conditioning,
    audio: Tensor,
    noise: Tensor,
    settings: SamplerSettings,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Denoise B windows together: audio (B, F, S, D), noise (B, 4, F, h, w) -> latents (B, 4, F, h, w).

    All tensors share one dtype and device, which is also that of the result. Guidance (Ho and Salimans 2022) contrasts
    the sound with tokens that are all zero, both halves in one call of 2 B, the zero half first; steps outside the
    guidance band are one call of B.
    ``on_step(index, latents)`` is called after each step. Waits for the device at no point of its own.
    """
    scheduler = make_scheduler(settings.scheduler)
    scheduler.set_timesteps(settings.steps)
    timesteps = scheduler.timesteps.to(
        noise.device
    )  # the scheduler's own stay on the CPU, where it looks up its tables
    cache = StepCache(settings.cache_interval)
    both = torch.cat([torch.zeros_like(audio), audio]) if settings.guided else audio

    latents = noise
    for index, timestep in enumerate(scheduler.timesteps):
        guided = settings.guided_at(int(timestep))
        unet_input = build_unet_input(latents, conditioning)
        if guided:
            unet_input = torch.cat([unet_input, unet_input])
        heard = both if guided else audio
        predicted = denoiser(unet_input, timesteps[index], heard, feature_cache=cache.at(index, guided))
        if guided:
            without, with_sound = predicted.chunk(2)
            predicted = without + settings.guidance_scale * (with_sound - without)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if on_step is not None:
            on_step(index, latents)
    return latents

"""The denoising loop: from noise and conditioning to clean latents, for any callable that predicts noise.

B windows · F frames · S audio tokens per frame · D their width · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from latentsync.diffusion.conditioning import Conditioning, build_unet_input
from latentsync.diffusion.schedule import SchedulerName, check_scheduler, make_scheduler
from latentsync.diffusion.step_cache import StepCache
from latentsync.errors import ConfigError
from latentsync.types import Denoiser

MAX_STEPS = 998  # beyond, the offset of one leads past the last of the 1000 training steps


@dataclass(frozen=True)
class SamplerSettings:
    """How to denoise. Raises ``ConfigError`` for values that make no sense.

    ``guidance_scale``: how far to exaggerate what the sound adds; up to 1 guidance is off and a step costs half.
    ``cache_interval``: the whole network runs at every so manieth step (see ``step_cache``); 1 = at each.
    """

    scheduler: SchedulerName = "ddim"
    steps: int = 20
    guidance_scale: float = 1.5
    cache_interval: int = 1

    def __post_init__(self) -> None:
        check_scheduler(self.scheduler)
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{self.steps} denoising steps are not possible.", remedy=f"Give 1 to {MAX_STEPS}.")
        if not (isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise ConfigError(f"A guidance scale of {self.guidance_scale} makes no sense.", remedy="Give 1.0 to 3.0.")
        if self.cache_interval < 1:
            raise ConfigError(
                f"A step cache interval of {self.cache_interval} makes no sense.", remedy="Give 1 (off) or more."
            )

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1.0


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
    the sound with tokens that are all zero, both halves in one call of 2 B, the zero half first.
    ``on_step(index, latents)`` is called after each step. Waits for the device at no point of its own.
    """
    scheduler = make_scheduler(settings.scheduler)
    scheduler.set_timesteps(settings.steps)
    timesteps = scheduler.timesteps.to(
        noise.device
    )  # the scheduler's own stay on the CPU, where it looks up its tables
    cache = StepCache(settings.cache_interval)
    if settings.guided:
        audio = torch.cat([torch.zeros_like(audio), audio])

    latents = noise
    for index, timestep in enumerate(scheduler.timesteps):
        unet_input = build_unet_input(latents, conditioning)
        if settings.guided:
            unet_input = torch.cat([unet_input, unet_input])
        predicted = denoiser(unet_input, timesteps[index], audio, feature_cache=cache.at(index))
        if settings.guided:
            without, with_sound = predicted.chunk(2)
            predicted = without + settings.guidance_scale * (with_sound - without)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if on_step is not None:
            on_step(index, latents)
    return latents

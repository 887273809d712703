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
from latentsync.diffusion.schedule import TRAINING_STEPS, SchedulerName, check_scheduler, make_scheduler
from latentsync.diffusion.step_cache import StepCache
from latentsync.errors import ConfigError
from latentsync.types import Denoiser

MAX_STEPS = TRAINING_STEPS - 2  # beyond, the offset of one leads past the last of the training steps


@dataclass(frozen=True)
class SamplerSettings:
    """How to denoise. Raises ``ConfigError`` for values that make no sense.

    ``guidance_scale``: how far to exaggerate what the sound adds; up to 1 guidance is off and a step costs half.
    ``guidance_band``: training steps (least, most noise) within which a step is guided; 0 to 999 are all (Kynkäänniemi
    et al. 2024, arXiv 2404.07724). ``cache_interval``: the whole network runs at every so manieth step (see
    ``step_cache``); 1 = at each.
    """

    scheduler: SchedulerName = "ddim"
    steps: int = 20
    guidance_scale: float = 1.5
    cache_interval: int = 1
    guidance_band: tuple[int, int] = (0, TRAINING_STEPS - 1)

    def __post_init__(self) -> None:
        check_scheduler(self.scheduler)
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{self.steps} denoising steps are not possible.", remedy=f"Give 1 to {MAX_STEPS}.")
        if not (isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise ConfigError(f"A guidance scale of {self.guidance_scale} makes no sense.", remedy="Give 1.0 to 3.0.")
        low, high = self.guidance_band
        if not 0 <= low <= high < TRAINING_STEPS:
            raise ConfigError(
                f"A guidance band from step {low} to {high} makes no sense.",
                remedy=f"Give two of the training steps 0 to {TRAINING_STEPS - 1}, the smaller one first.",
            )
        if self.cache_interval < 1:
            raise ConfigError(
                f"A step cache interval of {self.cache_interval} makes no sense.", remedy="Give 1 (off) or more."
            )

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1.0

    @property
    def guided_share(self) -> float:
        """Of the steps, about how many are guided, 0 to 1."""
        low, high = self.guidance_band
        return (high + 1 - low) / TRAINING_STEPS if self.guided else 0.0

    def guided_at(self, timestep: int) -> bool:
        """Whether the step at this training step contrasts the sound with silence."""
        return self.guided and self.guidance_band[0] <= timestep <= self.guidance_band[1]


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

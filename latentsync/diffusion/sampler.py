"""The denoising loop: from noise and conditioning to clean latents, for any callable that predicts noise.

B windows · F frames · C latent channels · S audio tokens per frame · D their width · h, w latent cells

``StepCache`` reuses the U-Net's deep features over neighbouring steps (DeepCache, Ma et al. 2023). They change slowly
from step to step, so only every so many steps compute the whole network; the steps between compute the outermost layers
on the features of the last full step, or on where the last two point to. ``Guidance`` says at which steps both halves
of a guided evaluation are computed; what the audio changes varies slowly too, so it can be kept for the next step.
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
    with tokens that are all zero: one guided call of the denoiser. Steps outside the guidance band, and those that keep
    the difference of an earlier one, are one plain call. ``on_step(index, latents)`` is called after each step. The
    loop itself never waits for the device.
    """
    scheduler = make_scheduler(settings.scheduler, settings.timesteps, settings.prediction, settings.spacing)
    scheduler.set_timesteps(settings.steps)
    cache = StepCache(settings.cache_interval, settings.cache_order)
    guidance = Guidance(settings)

    latents = noise
    for index, timestep in enumerate(scheduler.timesteps):
        level = int(timestep)
        both = guidance.computed_at(level)
        predicted = denoiser(
            build_unet_input(latents, conditioning),
            # The scheduler keeps its time steps on the CPU. A copy would wait for the device, a constant does not.
            torch.full((), level, device=noise.device),
            audio,
            feature_cache=cache.at(index, both, level),
            guided=both,
        )
        latents = scheduler.step(guidance.applied(predicted, level), timestep, latents, return_dict=False)[0]
        if on_step is not None:
            on_step(index, latents)
    return latents


class Guidance:
    """Which steps of one sampling run compute what the audio changes, and what becomes of it."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._settings = settings
        self._guided_steps = 0
        self._change: Tensor | None = None  # what the audio changed when that was computed last

    def computed_at(self, level: int) -> bool:
        """Whether the next step, at training step ``level``, computes both halves."""
        return self._settings.guided_at(level) and self._guided_steps % self._settings.guidance_interval == 0

    def applied(self, predicted: Tensor, level: int) -> Tensor:
        """The prediction (B, C, F, h, w) that a step at ``level`` goes on with, from that of the denoiser: both halves
        (2 B, C, F, h, w) where ``computed_at`` has asked for them."""
        settings = self._settings
        if not settings.guided_at(level):
            return predicted
        computed = self.computed_at(level)
        self._guided_steps += 1
        if computed:
            unconditional, conditional = predicted.chunk(2)
            self._change = conditional - unconditional
            return unconditional + settings.guidance_scale * self._change
        return predicted + (settings.guidance_scale - 1) * self._change


class StepCache:
    """What the denoiser may reuse at each step of one sampling run. ``interval`` 1 is off; published: 3.

    ``order`` 0 reuses the features of the last full step as they are, 1 extrapolates those of the last two along the
    training steps where there are two.
    """

    def __init__(self, interval: int, order: int = 0) -> None:
        self._interval = interval
        self._order = order
        self._features = FeatureCache()  # that was handed out last
        self._level = 0  # of that step
        self._full: list[tuple[int, Tensor]] = []  # levels and features of the last full steps, the latest last
        self._guided = True  # whether these are of guided steps: twice the windows, with audio second

    def at(self, index: int, guided: bool = True, level: int = 0) -> FeatureCache | None:
        """The cache to hand to the denoiser at step ``index`` (from 0), or None when caching is off.

        ``guided``: whether both halves are computed. Where only one is, the kept features with audio are reused; where
        both are and there are only those of one, the whole network runs. ``level``: the training step.
        """
        if self._interval == 1:
            return None
        self._note()
        reuse = index % self._interval != 0 and (self._guided or not guided)
        if self._guided and not guided:
            self._full = [(at, hidden.chunk(2)[1]) for at, hidden in self._full]
        elif guided and not self._guided:
            self._full.clear()
        self._guided = guided
        self._level = level
        self._features = FeatureCache(reuse, self._expected(level) if reuse and self._full else None)
        return self._features

    def _note(self) -> None:
        """Keep what the last step has left, if it was a full one."""
        if self._features.hidden is not None and not self._features.reuse:
            # With an order of 1 a copy: the next full step may write to the same memory (``runtime.graphs``).
            hidden = self._features.hidden.clone() if self._order else self._features.hidden
            self._full = [*self._full[len(self._full) - self._order :], (self._level, hidden)]

    def _expected(self, level: int) -> Tensor:
        at, hidden = self._full[-1]
        if len(self._full) == 1:
            return hidden
        before, earlier = self._full[0]
        return torch.lerp(earlier, hidden, (level - before) / (at - before))

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
        self._change: Tensor | float = 0.0  # what the audio changed when that was computed last

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
        self._features = FeatureCache()  # that was handed out last,
        self._step = (0, True)  # and for which training step, computed with both halves or not
        self._full: list[tuple[int, bool, Tensor]] = []  # the same of the last full steps, with their features

    def at(self, index: int, guided: bool = True, level: int = 0) -> FeatureCache | None:
        """The cache to hand to the denoiser at step ``index`` (from 0), or None when caching is off.

        ``guided``: whether both halves are computed. Where only one is, the kept features with audio are reused; where
        both are and the last full step had only one, the whole network runs. ``level``: the training step.
        """
        if self._interval == 1:
            return None
        self._note()
        reuse = index % self._interval != 0 and (not guided or all(both for _, both, _ in self._full[-1:]))
        self._step = (level, guided)
        self._features = FeatureCache(reuse, self._expected(guided, level) if reuse and self._full else None)
        return self._features

    def _note(self) -> None:
        """Keep what the last step has left, if it was a full one."""
        if self._features.hidden is not None and not self._features.reuse:
            # With an order of 1 a copy: the next full step may write to the same memory (``runtime.graphs``).
            hidden = self._features.hidden.clone() if self._order else self._features.hidden
            self._full = [*self._full[len(self._full) - self._order :], (*self._step, hidden)]

    def _expected(self, guided: bool, level: int) -> Tensor:
        """The features at a step that computes both halves, or only the one with audio."""
        usable = (full for full in self._full if full[1] or not guided)
        known = [(at, hidden if both is guided else hidden.chunk(2)[1]) for at, both, hidden in usable]
        at, hidden = known[-1]
        if len(known) == 1:
            return hidden
        before, earlier = known[0]
        return torch.lerp(earlier, hidden, (level - before) / (at - before))

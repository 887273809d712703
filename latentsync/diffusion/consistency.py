"""Sampling by a student of consistency distillation (Song et al. 2023, arXiv 2303.01469; in latent space: Luo et al.
2023, arXiv 2310.04378): one evaluation estimates the clean latents, and every further one starts from that estimate
with noise added again.

The noise is that of the start each time, which all windows of a video share, so the result depends on nothing else.

B windows · F frames · C latent channels · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from latentsync.diffusion.noise import Prediction, add_noise, estimate_clean

# As in LCM (section 4.1 and its code): the boundary condition is met at training step 0 and hardly felt from 10 on.
_SIGMA_DATA = 0.5
_TIMESTEP_SCALE = 10.0


def boundary_weights(timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """``c_skip`` and ``c_out`` at training steps (B,): at 0 they are 1 and 0, so that the consistency function of
    latents without noise is those latents themselves (LCM, eq. 9)."""
    scaled = timesteps.float() * _TIMESTEP_SCALE
    power = scaled.square() + _SIGMA_DATA**2
    return _SIGMA_DATA**2 / power, scaled / power.sqrt()


def consistent_estimate(
    noisy: Tensor, predicted: Tensor, timesteps: Tensor, alpha_bar: Tensor, prediction: Prediction = "epsilon"
) -> Tensor:
    """The consistency function: noisy latents (B, C, F, h, w) and what the network predicts of them at training steps
    (B,) -> clean latents. ``alpha_bar`` (B,): see ``noise``."""
    skip, out = (each.view(-1, *[1] * (noisy.ndim - 1)) for each in boundary_weights(timesteps))
    return skip * noisy + out * estimate_clean(noisy, predicted, alpha_bar, prediction)


def spread_timesteps(steps: int, first: int) -> tuple[int, ...]:
    """``steps`` training steps evenly from ``first`` down, the schedule of a student that names none for them."""
    return tuple(round(first * (steps - index) / steps) for index in range(steps))


class ConsistencyScheduler:
    """See ``schedule.Scheduler``. The latents of the first call of ``step`` are the noise of all further ones.

    ``schedule``: the training steps of the student's schedule; another number of steps is spread evenly below its
    first.
    """

    init_noise_sigma = 1.0

    def __init__(self, alphas_cumprod: Tensor, schedule: Sequence[int], prediction: Prediction) -> None:
        self.alphas_cumprod = alphas_cumprod
        self.timesteps = torch.empty(0, dtype=torch.int64)
        self._schedule = tuple(schedule)
        self._prediction = prediction
        self._noise: Tensor | None = None

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose ``timesteps``, and forget the noise."""
        chosen = self._schedule
        if len(chosen) != num_inference_steps:
            first = chosen[0] if chosen else len(self.alphas_cumprod) - 1
            chosen = spread_timesteps(num_inference_steps, first)
        self.timesteps = torch.tensor(chosen)
        self._noise = None

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: Literal[False]
    ) -> tuple[Tensor, ...]:
        """The estimate of the clean latents, with the noise of the next training step but after the last one."""
        if self._noise is None:
            self._noise = sample
        at = int(timestep)
        later = self.timesteps[self.timesteps < at]  # on the processor, so nothing waits for a device
        noisy, predicted, noise = (each.float() for each in (sample, model_output, self._noise))
        level = torch.full((1,), at, device=sample.device)
        clean = consistent_estimate(noisy, predicted, level, self._alpha_bar(at, noisy), self._prediction)
        if len(later):
            clean = add_noise(clean, noise, self._alpha_bar(int(later[0]), noisy))
        return (clean.to(sample.dtype),)

    def _alpha_bar(self, timestep: int, like: Tensor) -> Tensor:
        return torch.full((1,), float(self.alphas_cumprod[timestep]), device=like.device)

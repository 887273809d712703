"""How to denoise, as plain values: a command line or a page can check them without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from latentsync.diffusion.schedule import TRAINING_STEPS, SchedulerName, Spacing, check_scheduler
from latentsync.errors import ConfigError

if TYPE_CHECKING:
    from latentsync.diffusion.noise import Prediction

MAX_STEPS = TRAINING_STEPS - 2  # with more, the offset of one leads beyond the last training step


@dataclass(frozen=True)
class SamplerSettings:
    """How to denoise. Raises ``ConfigError`` for values that make no sense.

    ``guidance_scale``: weight of the difference that the audio makes; up to 1 guidance is off and a step costs half.
    ``guidance_band``: the training steps (least noise, most noise) between which a step is guided; 0 to 999 are all
    (Kynkäänniemi et al. 2024, arXiv 2404.07724). ``guidance_interval``: what the audio changes is computed at one in so
    many guided steps and kept for those between, which cost half (``sampler.Guidance``); 1 = at each.
    ``cache_interval``: the whole network runs once in so many steps (``sampler.StepCache``); 1 = at each.
    ``cache_order``: 0 reuses its deep features, 1 extrapolates them. ``spacing``: see ``schedule.make_scheduler``.
    ``timesteps`` and ``prediction`` are for ``consistency`` only, and come from a student's card: the training steps
    that it goes through, the noisiest first (with another number of ``steps`` they are spread evenly), and what it
    predicts.
    """

    scheduler: SchedulerName = "ddim"
    steps: int = 20
    guidance_scale: float = 1.5
    cache_interval: int = 1
    guidance_band: tuple[int, int] = (0, TRAINING_STEPS - 1)
    guidance_interval: int = 1
    cache_order: int = 0
    spacing: Spacing = "leading"
    timesteps: tuple[int, ...] = ()
    prediction: Prediction = "epsilon"

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
        if any(after >= before for before, after in pairwise([TRAINING_STEPS, *self.timesteps, 0])):
            raise ConfigError(
                f"A schedule through the training steps {list(self.timesteps)} makes no sense.",
                remedy=f"Give steps from {TRAINING_STEPS - 1} down to 1, each smaller than the one before.",
            )
        if self.scheduler == "consistency" and self.guided:
            raise ConfigError(
                f"A guidance scale of {self.guidance_scale} would come on top of what a student has inside.",
                remedy="Give a student 1.0.",
            )
        if self.cache_interval < 1:
            raise ConfigError(
                f"A step cache interval of {self.cache_interval} makes no sense.", remedy="Give 1 (off) or more."
            )
        if self.guidance_interval < 1:
            raise ConfigError(
                f"A guidance interval of {self.guidance_interval} makes no sense.", remedy="Give 1 (each) or more."
            )
        if self.cache_order not in (0, 1):
            raise ConfigError(
                f"A step cache of order {self.cache_order} makes no sense.", remedy="Give 0 (as it is) or 1."
            )

    @property
    def guided(self) -> bool:
        """Whether any step is guided."""
        return self.guidance_scale > 1.0

    @property
    def evaluations(self) -> tuple[float, float]:
        """About how many evaluations of the network a window takes: of all of it, and of what remains where its deep
        features are reused. A guided step is two, unless it keeps what the audio changes."""
        low, high = self.guidance_band
        guided_share = (high + 1 - low) / TRAINING_STEPS if self.guided else 0.0
        counted = {True: 0.0, False: 0.0}
        for step in range(self.steps):
            counted[step % self.cache_interval == 0] += 1 + guided_share * (step % self.guidance_interval == 0)
        return counted[True], counted[False]

    def guided_at(self, timestep: int) -> bool:
        """Whether the step at this training step is guided."""
        return self.guided and self.guidance_band[0] <= timestep <= self.guidance_band[1]

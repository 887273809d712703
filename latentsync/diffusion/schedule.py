"""The noise schedule that the published networks were trained with, and the schedulers for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from latentsync.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from latentsync.diffusion.noise import Prediction

SchedulerName = Literal["ddim", "dpm++", "unipc", "consistency"]
SCHEDULERS: tuple[str, ...] = get_args(SchedulerName)
Spacing = Literal["leading", "trailing"]
TRAINING_STEPS = 1000  # noise levels that the networks were trained at; the last has the most noise

_PUBLISHED: dict[str, Any] = {
    "num_train_timesteps": TRAINING_STEPS,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}


class Scheduler(Protocol):
    """What is used of a scheduler of diffusers."""

    alphas_cumprod: Tensor  # (TRAINING_STEPS,) share of signal that is left at each training step
    timesteps: Tensor  # (steps,) int64 training steps to go through, the noisiest first

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose ``timesteps``."""
        ...

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: Literal[False]
    ) -> tuple[Tensor, ...]:
        """Noisy latents and the predicted noise -> latents with less noise, the first of the tuple."""
        ...


def check_scheduler(name: str) -> None:
    """Raise ``ConfigError`` unless there is a scheduler of that name; loads no library."""
    if name not in SCHEDULERS:
        raise ConfigError(f"There is no scheduler '{name}'.", remedy=f"Choose one of {', '.join(SCHEDULERS)}.")


def make_scheduler(
    name: SchedulerName,
    schedule: Sequence[int] = (),
    prediction: Prediction = "epsilon",
    spacing: Spacing = "leading",
) -> Scheduler:
    """A new scheduler; the caller calls its ``set_timesteps``. All start from noise of unit variance.

    - ``ddim``: as published (Song et al. 2020), eta 0;
    - ``dpm++``: DPM-Solver++ 2M (Lu et al. 2022), for few steps;
    - ``unipc``: UniPC of order 2 (Zhao et al. 2023), for few steps;
    - ``consistency``: for students, at the training steps of ``schedule`` (``consistency.ConsistencyScheduler``).

    ``schedule`` and ``prediction`` are for students only, ``spacing`` is for the others: ``leading``, as published,
    begins a whole step below the noisiest level; ``trailing`` begins at that level, which pure noise is of, so it is
    better for very few steps (Lin et al. 2024, arXiv 2305.08891). The others end without any noise, the two fast ones
    with a first-order last step; ``ddim`` ends at training step 0. Raises ``ConfigError`` for any other name.
    """
    check_scheduler(name)
    import diffusers  # here: it loads a scheduler's module when it is named, 60 MB for the two fast ones

    settings = {**_PUBLISHED, "timestep_spacing": spacing}
    scheduler: Any  # diffusers does not state the types that `Scheduler` does
    if name == "ddim":
        scheduler = diffusers.DDIMScheduler(**settings, clip_sample=False, set_alpha_to_one=False)
    elif name == "dpm++":
        scheduler = diffusers.DPMSolverMultistepScheduler(**settings)
    elif name == "unipc":
        scheduler = diffusers.UniPCMultistepScheduler(**settings)
    else:
        from latentsync.diffusion.consistency import ConsistencyScheduler  # here: it imports torch

        scheduler = ConsistencyScheduler(make_scheduler("ddim").alphas_cumprod, schedule, prediction)
    return scheduler

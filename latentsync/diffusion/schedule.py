"""The noise schedule that the published networks were trained with, and three schedulers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from latentsync.errors import ConfigError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

SchedulerName = Literal["ddim", "dpm++", "unipc"]
SCHEDULERS: tuple[str, ...] = get_args(SchedulerName)
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


def check_scheduler(name: str) -> None:
    """Raise ``ConfigError`` unless there is a scheduler of that name; loads no library."""
    if name not in SCHEDULERS:
        raise ConfigError(f"There is no scheduler '{name}'.", remedy=f"Choose one of {', '.join(SCHEDULERS)}.")


def make_scheduler(name: SchedulerName) -> SchedulerMixin:
    """A new scheduler; the caller calls its ``set_timesteps``. All start from noise of unit variance.

    - ``ddim``: as published (Song et al. 2020), eta 0;
    - ``dpm++``: DPM-Solver++ 2M (Lu et al. 2022), for few steps;
    - ``unipc``: UniPC of order 2 (Zhao et al. 2023), for few steps.

    The two fast ones end without any noise, with a first-order last step; ``ddim`` ends at training step 0.
    Raises ``ConfigError`` for any other name.
    """
    check_scheduler(name)
    import diffusers  # here: it loads a scheduler's module when it is named, 60 MB for the two fast ones

    if name == "ddim":
        return diffusers.DDIMScheduler(**_PUBLISHED, clip_sample=False, set_alpha_to_one=False)
    if name == "dpm++":
        return diffusers.DPMSolverMultistepScheduler(**_PUBLISHED)
    return diffusers.UniPCMultistepScheduler(**_PUBLISHED)

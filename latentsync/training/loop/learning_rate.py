"""The learning rate as a function of the step: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentsync.errors import ConfigError

# The names that diffusers gives them; the last one's is from the literature (Hu et al. 2024, arXiv 2404.06395).
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "warmup_stable_decay")
DECAY_SHARE = 0.25  # of all steps, in which the last one sinks linearly


@dataclass(frozen=True, slots=True)
class LearningRate:
    """Rises linearly from 0 during ``warmup_steps``, then stays or sinks to 0 at ``max_steps``: from there on, or
    ("warmup_stable_decay") in the last quarter."""

    peak: float
    schedule: str
    warmup_steps: int
    max_steps: int

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"optimizer.lr_scheduler is {self.schedule!r}.", remedy=f"Choose one of {', '.join(SCHEDULES)}."
            )

    def __call__(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        if self.schedule == "linear":
            return self.peak * (1 - done)
        if self.schedule == "cosine":
            return self.peak * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "warmup_stable_decay":
            return self.peak * min(1.0, (self.max_steps - step) / (DECAY_SHARE * self.max_steps))
        return self.peak

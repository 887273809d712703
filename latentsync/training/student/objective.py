"""Consistency distillation of a trained U-Net, the teacher, into a student of few steps (Luo et al. 2023, arXiv
2310.04378): guidance and all steps of the teacher end up in one evaluation.

The student's estimate of the clean latents from one noise level is to be the one that the average of its own weights
gives from the next lower level, to which the teacher takes a guided step of DDIM. At the lowest level that is the
latents themselves, so what is true there spreads upwards. The losses on the decoded estimate come on top, as rewards.

B clips · F frames · C latent channels · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from latentsync.checkpoint import read_card
from latentsync.diffusion.conditioning import build_unet_input
from latentsync.diffusion.consistency import consistent_estimate, spread_timesteps
from latentsync.diffusion.noise import Prediction, add_noise, denoise_to
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.schedule import TRAINING_STEPS
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from latentsync.losses.reconstruction import latent_distance
from latentsync.models.codec import LatentCodec
from latentsync.recipe import StudentSection
from latentsync.training.unet.latents import LatentBatch, StepDraws
from latentsync.training.unet.objective import LossWeights, UNetObjective
from latentsync.types import Denoiser, Losses


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen network, what it predicts, and the guidance that it is asked with."""

    network: nn.Module
    dtype: torch.dtype
    prediction: Prediction
    guidance: float

    @torch.no_grad()
    def guided(self, noisy: Tensor, timesteps: Tensor, batch: LatentBatch) -> Tensor:
        """What it predicts of ``noisy`` (B, C, F, h, w), with guidance, in float32."""
        images, audio = build_unet_input(noisy, batch.conditioning).to(self.dtype), batch.audio.to(self.dtype)
        if self.guidance == 1:
            return self.network(images, timesteps, audio).float()
        without, with_audio = self.network(images, timesteps, audio, guided=True).float().chunk(2)
        return without + self.guidance * (with_audio - without)


class StudentObjective(UNetObjective):
    """The losses of a student. ``recon`` is the distance of its estimate from the true latents, ``consistency`` that
    from its target. ``target`` is a context in which the network has the average of its weights."""

    def __init__(
        self,
        codec: LatentCodec,
        weights: LossWeights,
        *,
        section: StudentSection,
        teacher: Teacher,
        target: Callable[[], AbstractContextManager[None]],
        **losses: object,
    ) -> None:
        super().__init__(codec, weights, **losses)  # type: ignore[arg-type]  # handed on as they are
        self._section = section
        self._teacher = teacher
        self._target = target
        # Levels from the noisiest down to none, those of the schedule among them.
        spread = spread_timesteps(section.levels, section.timesteps[0])
        self._ladder = torch.tensor(sorted({*spread, *section.timesteps, 0}, reverse=True))
        self._schedule = torch.tensor(section.timesteps)

    def __call__(self, unet: Denoiser, batch: LatentBatch, draws: StepDraws) -> Losses:
        """The losses of one training step; ``draws.timesteps`` say which levels are taken."""
        device, prediction = batch.target.device, self._teacher.prediction
        self._levels, self._ladder, self._schedule = (
            table.to(device) for table in (self._levels, self._ladder, self._schedule)
        )
        level, lower = self._choose_levels(draws.timesteps)
        (alpha_bar, level_weight, _), lower_alpha_bar = self._levels[:, level], self._levels[0, lower]
        noisy = add_noise(batch.target, draws.noise, alpha_bar)
        # A dub begins with noise alone, in which nothing of the result is left.
        begins = (level == self._ladder[0]).view(-1, *[1] * (noisy.ndim - 1))
        noisy = torch.where(begins, draws.noise, noisy)
        with torch.no_grad():
            guided = self._teacher.guided(noisy, level, batch)
            stepped = denoise_to(noisy, guided, alpha_bar, lower_alpha_bar, prediction)
            with self._target():
                predicted = unet(build_unet_input(stepped, batch.conditioning), lower, batch.audio).float()
            aim = consistent_estimate(stepped, predicted, lower, lower_alpha_bar, prediction)
        predicted = unet(build_unet_input(noisy, batch.conditioning), level, batch.audio).float()
        estimate = self._watch.root(consistent_estimate(noisy, predicted, level, alpha_bar, prediction))
        losses = self._with_estimate(self._distance(estimate, batch.target, batch), estimate, batch, level_weight)
        consistency = self._distance(estimate, aim, batch)
        total = losses.total + self._section.consistency_weight * consistency
        return replace(losses, total=total, consistency=consistency)

    @torch.no_grad()
    def validate(self, unet: Denoiser, batch: LatentBatch, draws: StepDraws) -> Losses:
        """The losses of what the whole schedule makes of ``draws.noise``: what a dub would show."""
        settings = sampler_of(self._section, self._teacher.prediction)
        result = sample(unet, batch.conditioning, batch.audio, draws.noise, settings).float()
        return self._with_estimate(self._distance(result, batch.target, batch), result, batch, 1.0)

    def _distance(self, latents: Tensor, target: Tensor, batch: LatentBatch) -> Tensor:
        return latent_distance(latents, target, batch.conditioning.keep_mask, self._weights.kept_area)

    def _choose_levels(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Uniform training steps (B,) -> a level for each clip, and the one below it."""
        share, position = self._section.schedule_share, timesteps.double() / TRAINING_STEPS
        ladder, schedule = self._ladder, self._schedule
        on_schedule = position < share
        within = torch.where(on_schedule, position / (share or 1), (position - share) / ((1 - share) or 1))
        any_level = (within.clamp(0) * (len(ladder) - 1)).long().clamp(max=len(ladder) - 2)
        scheduled = schedule[(within * len(schedule)).long().clamp(0, len(schedule) - 1)]
        start = torch.where(on_schedule, torch.searchsorted(-ladder, -scheduled), any_level)
        return ladder[start], ladder[start + 1]


def prediction_of(teacher: str) -> Prediction:
    """What the card of a teacher says that it predicts. Raises ``ConfigError`` if it is a student itself, and as
    ``read_card``."""
    card = read_card(teacher)
    if card is not None and card.distilled_steps is not None:
        raise ConfigError(
            f"{teacher} is a student itself, and no teacher for another one.",
            remedy="Name in student.teacher the weights that it was distilled from.",
        )
    return "v" if card is not None and card.prediction == "v" else "epsilon"


def sampler_of(section: StudentSection, prediction: Prediction) -> SamplerSettings:
    """How the student is sampled. Raises ``ConfigError`` for a schedule that makes no sense."""
    schedule = tuple(section.timesteps)
    return SamplerSettings(
        "consistency", steps=len(schedule), guidance_scale=1.0, timesteps=schedule, prediction=prediction
    )

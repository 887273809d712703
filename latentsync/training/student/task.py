"""The training of a student: that of a U-Net (``unet.task``) with another objective, another validation and a card that
says how it is to be sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from latentsync.checkpoint import WeightsCard
from latentsync.checkpoint.adapter import LowRank
from latentsync.recipe import StudentSection
from latentsync.training.adapters.low_rank import merged
from latentsync.training.student.objective import StudentObjective, prediction_of
from latentsync.training.unet.data import DrawnBatch
from latentsync.training.unet.task import UNetSetup, UNetTask
from latentsync.types import Losses


class StudentTask(UNetTask):
    """``section`` says what the student is to be; with a rank, the network has low-rank changes attached."""

    def __init__(self, section: StudentSection, setup: UNetSetup) -> None:
        super().__init__(setup)
        assert isinstance(setup.objective, StudentObjective)
        self._section = section
        self._student = setup.objective

    def card(self, step: int) -> WeightsCard:
        """That of a U-Net, which also names its teacher, its schedule and the guidance inside."""
        section = self._section
        prediction = prediction_of(section.teacher)
        return replace(
            super().card(step),
            distilled_steps=len(section.timesteps),
            distilled_timesteps=tuple(section.timesteps),
            guidance_inside=section.guidance,
            prediction=None if prediction == "epsilon" else prediction,
            base=section.base,
            base_name=Path(section.teacher).name,
        )

    def _plain(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        section = self._section
        return merged(weights, LowRank(section.rank, section.alpha)) if section.rank else weights

    def _validation_losses(self, batch: DrawnBatch) -> Losses:
        return self._student.validate(self.network, self._latents(batch), batch.draws.step)

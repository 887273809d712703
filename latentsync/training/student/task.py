"""The training of a student: that of a U-Net (``unet.task``) with another objective, another validation and a card that
says how it is to be sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from latentsync.checkpoint import WeightsCard
from latentsync.checkpoint.adapter import LowRank
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.recipe import StudentSection, UNetRecipe
from latentsync.training.adapters.low_rank import merged
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.student.objective import StudentObjective, prediction_of
from latentsync.training.unet.data import DrawnBatch, UNetWindows
from latentsync.training.unet.task import UNetTask
from latentsync.training.unet.validation import BackgroundRendering
from latentsync.types import Losses


class StudentTask(UNetTask):
    """``section`` says what the student is to be; with a rank, ``network`` has low-rank changes attached."""

    def __init__(
        self,
        section: StudentSection,
        recipe: UNetRecipe,
        network: UNet3D,
        codec: LatentCodec,
        objective: StudentObjective,
        windows: UNetWindows,
        ema: EMA | None,
        rendering: BackgroundRendering | None = None,
        rendering_bytes: int = 0,
        notes: Notes | None = None,
    ) -> None:
        super().__init__(recipe, network, codec, objective, windows, ema, rendering, rendering_bytes, notes)
        self._section = section
        self._student = objective

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

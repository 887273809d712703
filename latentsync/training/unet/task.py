"""What a U-Net's training computes, validates, shows and exports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn

from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.checkpoint.tensors import fill
from latentsync.data.clip_dataset import SampleKey
from latentsync.errors import TrainingError
from latentsync.inference.latent_generator import LatentModels
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.sharding import is_sharded, whole
from latentsync.training.loop.task import Row
from latentsync.training.loop.validation import loader_of, rows_of_all
from latentsync.training.unet.alarm import UNetAlarm, silent_losses
from latentsync.training.unet.data import DrawnBatch, UNetWindows
from latentsync.training.unet.latents import LatentBatch, PosteriorBatch, draw_latents, encode_batch
from latentsync.training.unet.networks import audio_encoder_path
from latentsync.training.unet.objective import UNetObjective, drop_audio
from latentsync.training.unet.validation import BackgroundRendering, fits_beside
from latentsync.types import Losses

LOSSES = ("recon", "consistency", "sync", "perceptual", "trepa", "movement")
SCORES = ("sync_cosine", "lse_c", "lse_d")  # of what validations render


@dataclass(frozen=True, slots=True)
class UNetSetup:
    """What a U-Net's training consists of.

    ``ema`` is what is validated and exported; None: ``network`` is. ``rendering`` is given on the main process only;
    None shows nothing. ``rendering_bytes``: what it takes besides its copy of the network. ``notes`` gets the alarms.
    """

    recipe: UNetRecipe
    network: UNet3D
    codec: LatentCodec
    objective: UNetObjective
    windows: UNetWindows
    ema: EMA | None = None
    rendering: BackgroundRendering | None = None
    rendering_bytes: int = 0
    notes: Notes = field(default_factory=Notes)


class UNetTask:
    """What the loop trains (``loop.task.Task``)."""

    def __init__(self, setup: UNetSetup) -> None:
        recipe, windows = setup.recipe, setup.windows
        self.network = setup.network
        self.dataset = windows.train
        self.collate = windows.train.collate
        self._recipe = recipe
        self._codec = setup.codec
        self._objective = setup.objective
        self._validation = windows.validation
        self._ema = setup.ema
        self._rendering = setup.rendering
        self._rendering_bytes = setup.rendering_bytes
        self._notes = setup.notes
        setup.objective.watch_gradients(lambda losses: self._notes.add(silent_losses(losses)))
        self._alarm = UNetAlarm(
            recipe.optimizer.lr,
            len(windows.train),
            recipe.data.batch_size * recipe.data.gradient_accumulation_steps,
            from_scratch=not recipe.ckpt.resume_ckpt_path,
        )

    def loss(self, network: nn.Module, batch: DrawnBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``; the figures are the single losses, without their weights."""
        losses = self._losses(network, batch)
        return losses.total, {name: value.detach() for name, value in _parts(losses).items()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """The losses on the same windows with the same noise every time, of which every process takes its share; then
        the main process begins to render, and the figures of that come later."""
        data = self._recipe.data
        windows, processes = data.num_val_samples, accelerator.num_processes
        if is_sharded(self.network):  # all processes must call it equally often
            windows = -(-windows // processes) * processes
        own = [SampleKey(0, index) for index in range(accelerator.process_index, windows, processes)]

        def score(batch_size: int) -> list[tuple[int, dict[str, float]]]:
            """Number of windows and mean losses of every batch."""
            rows = []
            for batch in loader_of(
                self._validation, own, batch_size, self._validation.collate, accelerator.device, data.num_workers
            ):
                losses = self._validation_losses(batch.to(accelerator.device))
                figures = {"loss": losses.total, **_parts(losses)}
                rows.append((len(batch.origins), {name: float(value) for name, value in figures.items()}))
            return rows

        with self._with_ema():
            rows = rows_of_all(accelerator, score, data.batch_size, together=is_sharded(self.network))
        count = sum(size for size, _ in rows)
        means = {name: sum(size * figures[name] for size, figures in rows) / count for name in rows[0][1]}
        with self._with_ema():
            weights = whole(self.network.state_dict(), keep=self._rendering is not None)
            if self._rendering is not None:
                self._rendering.wait()
                self._rendering.start(lambda: self._copy(weights), step)
                fits = fits_beside(accelerator.device, self._rendering_bytes)
                # Alone, a process gains nothing; before the first step nobody knows what a step takes.
                if accelerator.num_processes == 1 or step == 0 or not fits:
                    self._rendering.wait()
        coming = () if self._rendering is None else self._rendering.figures
        return {"score": -means["loss"], **means, **dict.fromkeys(coming, math.nan)}

    def _copy(self, weights: Mapping[str, Tensor]) -> LatentModels:
        """The networks of an inference, in its precision, with weights that the training no longer touches."""
        weight = next(self._codec.parameters())
        device, dtype = weight.device, weight.dtype
        with torch.device("meta"):
            unet = UNet3D(self.network.config)
        copies = {name: tensor.to(device, dtype, copy=True) for name, tensor in self._plain(weights).items()}
        return LatentModels(fill(unet, copies, device, dtype), self._codec, device, dtype)

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """Every loss in training and validation, and what the weights scored that the run began with; then what sync
        networks say of what is rendered."""
        start, validation = rows["validation"][0], rows["validation"]
        losses = [
            Panel(
                name,
                [
                    Curve(table, [r["step"] for r in rows[table]], [r[name] for r in rows[table]], table == "train")
                    for table in ("train", "validation")
                    if rows[table] and name in rows[table][0]
                ],
                [("at the start", start[name])] if start["step"] == 0 and name in start else [],
            )
            for name in ("loss", *LOSSES)
            if any(name in row for table in rows.values() for row in table[:1])
        ]
        scores = [
            Panel(
                name,
                [Curve("validation images", [r["step"] for r in validation], [r[name] for r in validation])],
                self._rendering.marks if name == "sync_cosine" and self._rendering is not None else [],
            )
            for name in SCORES
            if name in start
        ]
        return losses + scores

    def card(self, step: int) -> WeightsCard:
        """What the weights after ``step`` steps say of themselves."""
        data = self._recipe.data
        return WeightsCard(
            "unet",
            resolution=data.resolution,
            num_frames=data.num_frames,
            mask=data.mask_image_path,
            audio_encoder=audio_encoder_path(self._recipe).name,
            global_step=step,
        )

    def export(self, path: Path, step: int) -> None:
        """Write the weights with their card."""
        card = self.card(step)
        with self._with_ema():
            main = PartialState().is_main_process
            weights = whole(self.network.state_dict(), keep=main)
            if main:
                save_weights(path, self._plain(weights), self.network.config, card)

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Say what goes wrong. Raises ``TrainingError`` if the run is to stop when it is worse than at its start."""
        alarms = self._alarm.check(step, rows)
        for alarm in alarms:
            self._notes.add(alarm.text)
        worse = [alarm.text for alarm in alarms if alarm.worse_than_start]
        if worse and self._recipe.run.stop_if_worse:
            raise TrainingError(worse[0], remedy="Its best weights are kept; run.stop_if_worse=false goes on.")

    def _plain(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state dict of a plain U-Net; ``weights`` are that of ``network``."""
        return weights

    def _losses(self, network: nn.Module, batch: DrawnBatch) -> Losses:
        return self._objective(network, self._latents(batch), batch.draws.step)

    def _validation_losses(self, batch: DrawnBatch) -> Losses:
        return self._losses(self.network, batch)

    def _latents(self, batch: DrawnBatch) -> LatentBatch:
        draws = batch.draws
        if isinstance(batch.windows, PosteriorBatch):
            latents = draw_latents(batch.windows, draws.posterior)
        else:
            latents = encode_batch(self._codec, batch.windows, draws.posterior)
        if draws.audio_kept is not None:
            latents = drop_audio(latents, draws.audio_kept)
        return latents

    def _with_ema(self) -> AbstractContextManager[None]:
        return nullcontext() if self._ema is None else self._ema.applied()


def _parts(losses: Losses) -> dict[str, Tensor]:
    """The losses that were computed, by name."""
    return {name: value for name in LOSSES if (value := getattr(losses, name)) is not None}

"""Training the U-Net from its configuration file, in two stages (arXiv 2412.09262, section 3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.unet_dataset import UNetDataset
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.recipe import UNetRecipe
from latentsync.training.charts import Curve, Panel
from latentsync.training.journal import Row
from latentsync.training.latent_batch import PosteriorBatch, draw_latents, encode_batch, silence
from latentsync.training.learning_rate import LearningRate
from latentsync.training.loop import Outcome, Trainer
from latentsync.training.run_clips import find_clips
from latentsync.training.run_folder import check_run_folder, claim_run_folder
from latentsync.training.task import LoopSettings
from latentsync.training.unet_data import Noise, SeededBatch, UNetWindows, cache_folder, prepare_windows
from latentsync.training.unet_memory import estimate_memory
from latentsync.training.unet_networks import (
    audio_encoder_path,
    build_unet,
    judges_of,
    load_frozen_codec,
    load_judges,
    make_objective,
    require_files,
    weight_files,
)
from latentsync.training.unet_objective import UNetObjective
from latentsync.training.weight_average import WeightAverage
from latentsync.types import Losses

log = logging.getLogger(__name__)

# What may differ between two starts of one run without changing what it computes.
MAY_CHANGE = (
    "run.max_train_steps", "run.max_train_epochs", "run.validation_steps", "run.log_steps", "run.inference_steps",
    "run.guidance_scale", "run.enable_gradient_checkpointing", "data.num_val_samples", "data.num_workers",
    "data.audio_mel_cache_dir", "data.audio_embeds_cache_dir", "data.cache_latents", "data.train_output_dir",
    "data.val_video_path", "data.val_audio_path", "ckpt",
)  # fmt: skip
LOSSES = ("recon", "sync", "perceptual", "trepa")


class UNetTask:
    """What the loop trains (``task.Task``). With an ``average`` that is what is validated and exported."""

    def __init__(
        self,
        recipe: UNetRecipe,
        network: UNet3D,
        codec: LatentCodec,
        objective: UNetObjective,
        windows: UNetWindows,
        average: WeightAverage | None,
    ) -> None:
        self.network = network
        self.dataset = windows.train
        self.collate = windows.train.collate
        self._recipe = recipe
        self._codec = codec
        self._objective = objective
        self._validation = windows.validation
        self._average = average
        run = recipe.run
        alpha = run.mixed_noise_alpha if run.use_mixed_noise else None
        channels = network.config.out_channels
        self._noise = Noise(objective.n_timesteps, alpha, run.audio_dropout, channels)
        self._validation_noise = Noise(objective.n_timesteps, alpha, 0.0, channels)

    def loss(self, network: nn.Module, batch: SeededBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``; the figures are the single losses, without their weights."""
        losses = self._losses(network, batch, self._noise)
        return losses.total, {name: value.detach() for name, value in _parts(losses).items()}

    def validate(self, accelerator: Accelerator) -> dict[str, float]:
        """The losses on the same windows with the same noise every time; every process takes its share of them."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)
        loader = DataLoader(
            self._validation,
            sampler=[SampleKey(0, index) for index in own],
            batch_size=data.batch_size,
            collate_fn=self._validation.collate,
            num_workers=data.num_workers,
            generator=torch.Generator(),
        )
        rows = []
        with self._averaged():
            for batch in loader:
                losses = self._losses(self.network, batch.to(accelerator.device), self._validation_noise)
                figures = {"loss": losses.total, **_parts(losses)}
                rows.append((len(batch.seeds), {name: float(value) for name, value in figures.items()}))
        rows = gather_object(rows)
        count = sum(size for size, _ in rows)
        means = {name: sum(size * figures[name] for size, figures in rows) / count for name in rows[0][1]}
        return {"score": -means["loss"], **means}

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """Every loss in training and validation, and what the weights scored that the run began with."""
        start = rows["validation"][0]
        return [
            Panel(
                name,
                [
                    Curve(table, [r["step"] for r in rows[table]], [r[name] for r in rows[table]], table == "train")
                    for table in ("train", "validation")
                ],
                [("at the start", start[name])],
            )
            for name in ("loss", *LOSSES)
            if name in start
        ]

    def export(self, path: Path, step: int) -> None:
        """Write the weights with their card."""
        data = self._recipe.data
        card = WeightsCard(
            "unet",
            resolution=data.resolution,
            num_frames=data.num_frames,
            mask=data.mask_image_path,
            audio_encoder=audio_encoder_path(self._recipe).name,
            global_step=step,
        )
        with self._averaged():
            save_weights(path, self.network.state_dict(), self.network.config, card)

    def watch(self, step: int, train_rows: list[Row]) -> None:
        """Nothing to watch: the charts show the validation against where the run began."""

    def _losses(self, network: nn.Module, batch: SeededBatch, noise: Noise) -> Losses:
        data = self._recipe.data
        posterior, draws, heard = noise.draw(batch.seeds, data.num_frames, data.resolution)
        if isinstance(batch.windows, PosteriorBatch):
            latents = draw_latents(batch.windows, posterior)
        else:
            latents = encode_batch(self._codec, batch.windows, posterior)
        if noise.audio_dropout:
            latents = silence(latents, heard)
        return self._objective(network, latents, draws)

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.applied()


def run_folder(recipe: UNetRecipe, name: str) -> Path:
    """Where the run ``name`` of this configuration lives."""
    return Path(recipe.data.train_output_dir) / name


def train_unet(recipe: UNetRecipe, name: str) -> Outcome:
    """Train, or go on training, in ``<train_output_dir>/<name>``.

    Raises ``ConfigError`` for a configuration that contradicts itself or a folder of another run, ``DataError`` if
    there is nothing to train on, the ``WeightsError`` family, and ``TrainingError``.
    """
    folder = run_folder(recipe, name)
    check_run_folder(folder, recipe, MAY_CHANGE)
    judges = judges_of(recipe)
    require_files(weight_files(recipe, judges))
    accelerator = make_accelerator(recipe)
    set_seed(recipe.run.seed)  # equal on all processes: fresh weights must be
    if accelerator.is_main_process and accelerator.device.type != "cpu":
        log.info("Memory: %s", estimate_memory(recipe))
    network = build_unet(recipe).to(accelerator.device)
    with accelerator.main_process_first():  # the others find its cache
        clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
    if accelerator.is_main_process:
        claim_run_folder(folder, recipe)
        clips.write_report(folder / "clips.json")
        log.info("%s", clips.summary())
        if recipe.data.val_video_path:
            log.warning("data.val_video_path: no videos are rendered; validation is by losses on held-out clips.")
    codec = load_frozen_codec(recipe, accelerator.device)
    windows = prepare_windows(recipe, clips, judges, codec, accelerator)
    objective = make_objective(recipe, judges, load_judges(recipe, judges, accelerator.device), codec)
    average = None
    if recipe.run.ema_decay:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        average = WeightAverage(trained, recipe.run.ema_decay)
    task = UNetTask(recipe, network, codec, objective, windows, average)
    settings = loop_settings(recipe, len(windows.train), accelerator.num_processes)
    return Trainer(task, settings, folder, accelerator, average).run()


def make_accelerator(recipe: UNetRecipe) -> Accelerator:
    """Devices and precision: half precision only on an accelerator, where it is quicker."""
    on_cpu = not torch.accelerator.is_available()
    half = recipe.run.mixed_precision if recipe.run.mixed_precision_training and not on_cpu else "no"
    return Accelerator(cpu=on_cpu, mixed_precision=half)


def loop_settings(recipe: UNetRecipe, n_samples: int, n_processes: int) -> LoopSettings:
    """The loop's part of the configuration for ``n_samples`` clips."""
    data, run, optimizer = recipe.data, recipe.run, recipe.optimizer
    max_steps = run.max_train_steps
    if run.max_train_epochs > 0:
        clips_per_step = data.batch_size * data.gradient_accumulation_steps * n_processes
        max_steps = min(max_steps, math.ceil(run.max_train_epochs * n_samples / clips_per_step))
    return LoopSettings(
        max_steps=max_steps,
        batch_size=data.batch_size,
        learning_rate=LearningRate(
            optimizer.lr * (n_processes if optimizer.scale_lr else 1),
            optimizer.lr_scheduler,
            optimizer.lr_warmup_steps,
            max_steps,
        ),
        accumulation=data.gradient_accumulation_steps,
        max_grad_norm=optimizer.max_grad_norm,
        weight_decay=optimizer.weight_decay,
        num_workers=data.num_workers,
        seed=run.seed,
        log_steps=run.log_steps,
        validation_steps=run.validation_steps,
        save_steps=recipe.ckpt.save_ckpt_steps,
        keep_checkpoints=recipe.ckpt.keep_checkpoints,
    )


def _parts(losses: Losses) -> dict[str, Tensor]:
    """The losses that were computed, by name."""
    return {name: value for name in LOSSES if (value := getattr(losses, name)) is not None}

"""Training the U-Net from its configuration file, in two stages (arXiv 2412.09262, section 3)."""

from __future__ import annotations

import logging
import math

import torch
from accelerate.utils import set_seed

from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.recipe import UNetRecipe
from latentsync.runtime.compilation import compile_in_place
from latentsync.training.loop.clips import find_clips
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.precision import asked_precision, training_dtype
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.sharding import shard
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.unet.data import cache_folder, prepare_windows
from latentsync.training.unet.memory import GIB, estimate_dub, estimate_memory, settle_checkpointing
from latentsync.training.unet.networks import (
    LossConfig,
    LossNetworks,
    build_unet,
    load_frozen_codec,
    load_loss_networks,
    loss_config_of,
    make_objective,
    require_files,
    weight_files,
)
from latentsync.training.unet.objective import UNetObjective
from latentsync.training.unet.task import UNetSetup, UNetTask
from latentsync.training.unet.validation import BackgroundRendering, make_renderer, validation_video_of

logger = logging.getLogger(__name__)

# What may differ between two starts of one run without changing what it computes.
MAY_CHANGE = (
    "run.max_train_steps", "run.max_train_epochs", "run.validation_steps", "run.log_steps", "run.inference_steps",
    "run.guidance_scale", "run.enable_gradient_checkpointing", "run.compile", "run.tf32", "run.stop_if_worse",
    "run.sharded", "data.num_val_samples", "data.num_workers", "data.audio_mel_cache_dir",
    "data.audio_embeds_cache_dir", "data.cache_latents", "data.train_output_dir", "data.val_video_path",
    "data.val_audio_path", "data.val_detector", "ckpt", "student.teacher",  # of which student.base tells
)  # fmt: skip


class UNetParts:
    """What a training puts together, and what a training of another kind on the same loop replaces."""

    def network(self, recipe: UNetRecipe) -> UNet3D:
        """The network in float32, of which those parameters require gradients that are trained."""
        return build_unet(recipe)

    def objective(
        self, recipe: UNetRecipe, losses: LossConfig, networks: LossNetworks, codec: LatentCodec, ema: EMA | None
    ) -> UNetObjective:
        """What it is trained for; ``codec`` lies on the device of the training."""
        return make_objective(recipe, losses, networks, codec)

    def task(self, setup: UNetSetup) -> UNetTask:
        """What the loop trains."""
        return UNetTask(setup)

    def sampler(self) -> SamplerSettings | None:
        """How validations generate their images; None = as ``run`` says."""
        return None


def train_unet(recipe: UNetRecipe, name: str, parts: UNetParts | None = None) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``; ``parts`` None = a U-Net as published.

    Raises ``ConfigError`` for a configuration that contradicts itself or a folder of another run, ``DataError`` if
    there is nothing to train on, the ``WeightsError`` family, and ``TrainingError``.
    """
    if recipe.student is not None and parts is None:
        raise ValueError("a student is trained by training.student.run.train_student")
    parts, losses = parts or UNetParts(), loss_config_of(recipe)
    require_files(weight_files(recipe, losses))
    run = open_run(recipe, name, MAY_CHANGE, mixed_precision=mixed_precision_of(recipe), compiled=recipe.run.compile)
    accelerator, device = run.accelerator, run.accelerator.device
    # Before anything that takes long: a validation video that will not do ends the run now.
    validation_video = validation_video_of(recipe, device) if accelerator.is_main_process else None
    recipe = settle_checkpointing(recipe, device, accelerator.num_processes)
    dub = estimate_dub(recipe, device)
    if accelerator.is_main_process and device.type != "cpu":
        logger.info("Memory: %s; %.1f more at validations", estimate_memory(recipe), (dub.copy + dub.work) / GIB)
    set_seed(recipe.run.seed)  # equal on all processes: fresh weights must be
    network = parts.network(recipe).to(device)
    if recipe.run.sharded:
        shard(network, network.layers(), device, sharded_dtype(recipe, device, accelerator.num_processes))
    if recipe.run.compile:
        compile_in_place(network)
    min_frames = UNetDataset.min_frames(recipe.data.num_frames)
    clips = run.open_clips(recipe, lambda: find_clips(recipe.data, min_frames, cache_folder(recipe)))
    codec = load_frozen_codec(recipe, device)
    windows = prepare_windows(recipe, clips, losses, codec, accelerator)
    networks = load_loss_networks(recipe, losses, codec, device)
    ema = None
    if recipe.run.ema_decay:
        ema = EMA([parameter for parameter in network.parameters() if parameter.requires_grad], recipe.run.ema_decay)
    objective = parts.objective(recipe, losses, networks, codec, ema)
    rendering, notes = None, Notes()
    if accelerator.is_main_process:
        images = run.folder / "validation"
        shown, sampler = windows.shown, parts.sampler()
        renderer = make_renderer(recipe, validation_video, shown, networks.sync, codec, device, images, sampler)
        rendering = None if renderer is None else BackgroundRendering(renderer, notes)
    task = parts.task(UNetSetup(recipe, network, codec, objective, windows, ema, rendering, dub.work, notes))
    settings = unet_loop_settings(recipe, len(windows.train), accelerator.num_processes)
    return Trainer(task, settings, run.folder, accelerator, ema, rendering, notes).run()


def mixed_precision_of(recipe: UNetRecipe) -> str:
    """What the accelerator is told: fp16, bf16 or no. A sharded network has its own, see ``sharded_dtype``."""
    return "no" if recipe.run.sharded else asked_precision(recipe.run)


def sharded_dtype(recipe: UNetRecipe, device: torch.device, processes: int) -> torch.dtype | None:
    """What the layers of a sharded network compute in; None = float32. Raises ``ConfigError`` if that cannot be, or if
    there is one process only."""
    run = recipe.run
    if processes == 1:
        raise ConfigError(
            "run.sharded is true, but there is one process to hold the network.",
            remedy="Set it to false, or start one process per GPU, with torchrun, as docs/training.md shows.",
        )
    if not run.mixed_precision_training:
        return None
    if run.mixed_precision != "bf16":
        raise ConfigError(
            f"run.sharded is true and run.mixed_precision {run.mixed_precision}, whose gradients would need a factor "
            "that all processes agree on.",
            remedy="Set run.mixed_precision to bf16, or run.mixed_precision_training to false for float32.",
        )
    dtype = training_dtype(run, device)
    # What CPUs exchange stays in float32: a shared network is for GPUs, and on CPUs for trying it out.
    return None if dtype is torch.float32 or device.type == "cpu" else dtype


def unet_loop_settings(recipe: UNetRecipe, n_samples: int, n_processes: int) -> LoopSettings:
    """The loop's part of the configuration for ``n_samples`` clips, whose number says how long an epoch is."""
    data, run = recipe.data, recipe.run
    max_steps = run.max_train_steps
    if run.max_train_epochs > 0:
        clips_per_step = data.batch_size * data.gradient_accumulation_steps * n_processes
        max_steps = min(max_steps, math.ceil(run.max_train_epochs * n_samples / clips_per_step))
    return loop_settings(
        recipe,
        max_steps=max_steps,
        lr_factor=n_processes if recipe.optimizer.scale_lr else 1,
        accumulation=data.gradient_accumulation_steps,
        num_workers=data.num_workers,
    )

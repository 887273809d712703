"""Training the U-Net from its configuration file, in two stages (arXiv 2412.09262, section 3)."""

from __future__ import annotations

import logging
import math
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed

from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import ConfigError
from latentsync.recipe import UNetRecipe
from latentsync.runtime.compilation import compile_in_place, require_compiler
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.learning_rate import LearningRate
from latentsync.training.loop.run_clips import find_clips
from latentsync.training.loop.run_folder import check_run_folder, claim_run_folder
from latentsync.training.loop.sharding import shard
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Outcome, Trainer
from latentsync.training.unet.background_rendering import BackgroundRendering
from latentsync.training.unet.data import cache_folder, prepare_windows
from latentsync.training.unet.memory import estimate_memory, settle_checkpointing
from latentsync.training.unet.networks import (
    build_unet,
    load_frozen_codec,
    load_loss_networks,
    loss_config_of,
    make_objective,
    require_files,
    weight_files,
)
from latentsync.training.unet.task import UNetTask
from latentsync.training.unet.validation import make_pictures, validation_video_of

log = logging.getLogger(__name__)

# What may differ between two starts of one run without changing what it computes.
MAY_CHANGE = (
    "run.max_train_steps", "run.max_train_epochs", "run.validation_steps", "run.log_steps", "run.inference_steps",
    "run.guidance_scale", "run.enable_gradient_checkpointing", "run.compile", "run.stop_if_worse", "run.sharded",
    "data.num_val_samples", "data.num_workers", "data.audio_mel_cache_dir", "data.audio_embeds_cache_dir",
    "data.cache_latents", "data.train_output_dir", "data.val_video_path", "data.val_audio_path", "data.val_detector",
    "ckpt",
)  # fmt: skip
LONGEST_WAIT = timedelta(hours=6)  # of a process for the first one: it opens all clips, and dubs the validation video


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
    judges = loss_config_of(recipe)
    require_files(weight_files(recipe, judges))
    accelerator = make_accelerator(recipe)
    if recipe.run.compile:
        require_compiler(accelerator.device.type, "run.compile")
    # Before anything that takes long: a validation video that will not do ends the run now.
    rehearsal = validation_video_of(recipe, accelerator.device) if accelerator.is_main_process else None
    recipe = settle_checkpointing(recipe, accelerator.device, accelerator.num_processes)
    if accelerator.is_main_process and accelerator.device.type != "cpu":
        log.info("Memory: %s", estimate_memory(recipe))
    set_seed(recipe.run.seed)  # equal on all processes: fresh weights must be
    network = build_unet(recipe).to(accelerator.device)
    if recipe.run.sharded:
        dtype = sharded_dtype(recipe, accelerator.device, accelerator.num_processes)
        shard(network, network.layers(), accelerator.device, dtype)
    if recipe.run.compile:
        compile_in_place(network)
    with accelerator.main_process_first():  # the others find its cache
        clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
    if accelerator.is_main_process:
        claim_run_folder(folder, recipe)
        clips.write_report(folder / "clips.json")
        log.info("%s", clips.summary())
    codec = load_frozen_codec(recipe, accelerator.device)
    windows = prepare_windows(recipe, clips, judges, codec, accelerator)
    networks = load_loss_networks(recipe, judges, codec, accelerator.device)
    objective = make_objective(recipe, judges, networks, codec)
    pictures = late = None
    if accelerator.is_main_process:
        pictures = make_pictures(
            recipe,
            rehearsal,
            windows.shown,
            networks.sync,
            codec,
            accelerator.device,
            folder / "validation",
            cache_folder(recipe),
        )
        late = None if pictures is None else BackgroundRendering(pictures)
    average = None
    if recipe.run.ema_decay:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        average = EMA(trained, recipe.run.ema_decay)
    task = UNetTask(recipe, network, codec, objective, windows, average, late)
    settings = loop_settings(recipe, len(windows.train), accelerator.num_processes)
    return Trainer(task, settings, folder, accelerator, average, late).run()


def make_accelerator(recipe: UNetRecipe) -> Accelerator:
    """Devices and precision: half precision only on an accelerator, where it is quicker."""
    on_cpu = not torch.accelerator.is_available()
    half = recipe.run.mixed_precision if recipe.run.mixed_precision_training and not on_cpu else "no"
    if recipe.run.sharded:
        half = "no"  # see sharded_dtype
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return Accelerator(cpu=on_cpu, mixed_precision=half, kwargs_handlers=[patience])


def sharded_dtype(recipe: UNetRecipe, device: torch.device, processes: int) -> torch.dtype | None:
    """What the layers of a sharded network compute in; None = float32. Raises ``ConfigError`` if that cannot be, or if
    there is one process only."""
    run = recipe.run
    if processes == 1:
        raise ConfigError(
            "run.sharded is true, but there is one process to hold the network.",
            remedy="Set it to false, or start one process per GPU, as ./train_unet.sh does.",
        )
    if not run.mixed_precision_training:
        return None
    if run.mixed_precision != "bf16":
        raise ConfigError(
            f"run.sharded is true and run.mixed_precision {run.mixed_precision}, whose gradients would need a factor "
            "that all processes agree on.",
            remedy="Set run.mixed_precision to bf16, or run.mixed_precision_training to false for float32.",
        )
    return None if device.type == "cpu" else torch.bfloat16


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

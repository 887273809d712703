"""Training a sync network from its configuration file (arXiv 2412.09262, section 3.3)."""

from __future__ import annotations

import torch
from accelerate.utils import set_seed

from latentsync import checkpoint  # the codec's names are loaded where latents are: they bring seconds of imports
from latentsync.checkpoint import load_syncnet
from latentsync.metrics.stable_sync import StableSync
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.recipe import SyncNetRecipe
from latentsync.runtime.compilation import compile_in_place
from latentsync.training.latent_cache import LatentCache, fill_latents
from latentsync.training.loop.precision import asked_precision, training_dtype
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.syncnet.alarm import require_sync
from latentsync.training.syncnet.data import find_clips, mel_reader
from latentsync.training.syncnet.task import SyncNetTask

# What may differ between two starts of one run without changing what it computes.
MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "run.alarm_steps", "run.offset_syncnet_path",
    "run.compile", "run.tf32", "data.num_val_samples", "data.num_workers", "data.audio_mel_cache_dir",
    "data.train_output_dir", "ckpt",
)  # fmt: skip


def train_syncnet(recipe: SyncNetRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``.

    Raises ``ConfigError`` for a configuration that contradicts itself or a folder of another run, ``DataError`` if
    there is nothing to train on, the ``WeightsError`` family, and ``TrainingError``.
    """
    settings = syncnet_loop_settings(recipe)
    run = open_run(recipe, name, MAY_CHANGE, mixed_precision=asked_precision(recipe.run), compiled=recipe.run.compile)
    accelerator, device, cache = run.accelerator, run.accelerator.device, run.folder / "cache"
    set_seed(recipe.run.seed, device_specific=True)
    clips = run.open_clips(recipe, lambda: find_clips(recipe.data, cache))
    mels = mel_reader(recipe.data, run.folder)
    if accelerator.is_main_process:
        require_sync(recipe, clips.train, mels, device)
    model = build_model(recipe, device, recipe.ckpt.resume_ckpt_path)
    if recipe.run.compile:
        compile_in_place(model.network)
    latents = None
    if model.codec is not None and recipe.data.cache_latents:
        codec, latents = model.codec, LatentCache(cache, model.codec, recipe.data.resolution)
        fill_latents(latents, codec, clips, accelerator)
        accelerator.wait_for_everyone()
    task = SyncNetTask(recipe, clips, mels, model, latents)
    return Trainer(task, settings, run.folder, accelerator).run()


def build_model(recipe: SyncNetRecipe, device: torch.device, weights: str | None) -> StableSync:
    """The network of a configuration, fresh or with the ``weights`` of a file, and the codec of a latent one."""
    config = SyncNetConfig.from_dict(recipe.model)
    network = StableSyncNet(config) if weights is None else load_syncnet(weights, config)
    codec = load_frozen_codec(recipe, device)
    # A CPU takes 15 % longer for a step with channels last.
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    network = network.to(device).to(memory_format=layout).train()
    return StableSync(network, recipe.data.view, codec)


def load_frozen_codec(recipe: SyncNetRecipe, device: torch.device) -> LatentCodec | None:
    """The codec of a network on latents, frozen, in the precision of the training; None for one on pixels."""
    if not recipe.data.latent_space:
        return None
    dtype = training_dtype(recipe.run, device)
    return checkpoint.load_codec(recipe.data.codec_path, device=device, dtype=dtype).requires_grad_(False)


def syncnet_loop_settings(recipe: SyncNetRecipe) -> LoopSettings:
    """The loop's part of the configuration. Raises ``ConfigError`` for an unknown optimizer or schedule."""
    data = recipe.data
    return loop_settings(
        recipe,
        optimizer=recipe.optimizer.name,
        accumulation=data.gradient_accumulation_steps,
        num_workers=data.num_workers,
    )

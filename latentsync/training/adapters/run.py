"""Training an adapter from its configuration: the U-Net's training with low-rank changes in place of its weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from accelerate.utils import set_seed

from latentsync.checkpoint import start_unet
from latentsync.checkpoint.adapter import LowRank
from latentsync.data.unet_dataset import UNetDataset
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.recipe import AdapterRecipe
from latentsync.training.adapters.low_rank import attach
from latentsync.training.adapters.task import AdapterTask, keep_changes_only
from latentsync.training.loop.clips import find_clips
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.precision import asked_precision
from latentsync.training.loop.run import open_run
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.unet.background_rendering import BackgroundRendering
from latentsync.training.unet.data import cache_folder, prepare_windows
from latentsync.training.unet.memory import GIB, PeakMemory, estimate_dub, nbytes, settle_checkpointing
from latentsync.training.unet.networks import (
    load_frozen_codec,
    load_loss_networks,
    loss_config_of,
    make_objective,
    require_files,
    weight_files,
)
from latentsync.training.unet.run import MAY_CHANGE, unet_loop_settings
from latentsync.training.unet.validation import make_renderer, validation_video_of

logger = logging.getLogger(__name__)

# As of a U-Net's training, but what it began with is a part of what it computes.
_MAY_CHANGE = (
    *(key for key in MAY_CHANGE if key != "ckpt"),
    *("ckpt.save_ckpt_steps", "ckpt.keep_checkpoints", "adapter.patience", "adapter.max_minutes"),
    *("adapter.consent", "adapter.videos"),
)


@dataclass(frozen=True, slots=True)
class AdapterCost:
    """What a training takes: bytes all in all, seconds of a step and of a validation, and steps at most."""

    bytes: int
    step_seconds: float
    validation_seconds: float
    max_steps: int
    validation_steps: int
    max_seconds: float

    def __str__(self) -> str:
        validations = 1 + self.max_steps // self.validation_steps
        work = self.max_steps * self.step_seconds + validations * self.validation_seconds
        limit = "" if work <= self.max_seconds else f", ended after {self.max_seconds / 60:.0f}"
        return (
            f"about {self.bytes / GIB:.1f} GiB of memory and {self.step_seconds:.1f} s a step; at most "
            f"{self.max_steps} steps and {validations} validations: {work / 60:.0f} minutes{limit}"
        )


def train_adapter(
    recipe: AdapterRecipe, name: str, on_cost: Callable[[AdapterCost], None] = lambda cost: None
) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``; its ``weights`` are adapter files.

    ``on_cost`` is told what the training will take before it begins. Raises as ``unet.run.train_unet``, and
    ``PackageMissingError`` without peft.
    """
    losses = loss_config_of(recipe)
    require_files(weight_files(recipe, losses))
    run = open_run(recipe, name, _MAY_CHANGE, mixed_precision=asked_precision(recipe.run))
    accelerator, device = run.accelerator, run.accelerator.device
    validation_video = validation_video_of(recipe, device) if accelerator.is_main_process else None
    settled = settle_checkpointing(recipe, device, accelerator.num_processes)
    recipe = replace(recipe, run=settled.run)
    dub = estimate_dub(recipe, device)
    set_seed(recipe.run.seed)  # equal on all processes: fresh changes must be
    network = _with_changes(recipe).to(device)
    keep_changes_only(accelerator, network)
    min_frames = UNetDataset.min_frames(recipe.data.num_frames)
    clips = run.open_clips(recipe, lambda: find_clips(recipe.data, min_frames, cache_folder(recipe)))
    codec = load_frozen_codec(recipe, device)
    windows = prepare_windows(recipe, clips, losses, codec, accelerator)
    networks = load_loss_networks(recipe, losses, codec, device)
    objective = make_objective(recipe, losses, networks, codec)
    rendering, notes = None, Notes()
    if accelerator.is_main_process:
        images = run.folder / "validation"
        renderer = make_renderer(recipe, validation_video, windows.shown, networks.sync, codec, device, images)
        rendering = None if renderer is None else BackgroundRendering(renderer, notes)
    ema = EMA([p for p in network.parameters() if p.requires_grad], recipe.run.ema_decay)
    task = AdapterTask(recipe, network, codec, objective, windows, ema, rendering, dub.work, notes)
    minutes = recipe.adapter.max_minutes
    settings = replace(
        unet_loop_settings(recipe, len(windows.train), accelerator.num_processes),
        patience=recipe.adapter.patience,
        max_seconds=math.inf if minutes is None else 60 * minutes,
    )
    trainer = Trainer(task, settings, run.folder, accelerator, ema, rendering, notes)
    if accelerator.is_main_process:
        frozen = sum(nbytes(each) for each in (codec, networks.sync) if each is not None)
        on_cost(_measure(recipe, trainer, settings.max_seconds, _bytes_at_rest(network) + frozen))
    return trainer.run()


def _with_changes(recipe: AdapterRecipe) -> UNet3D:
    """The network in float32 as its file has it, with changes of zero attached."""
    path = recipe.ckpt.resume_ckpt_path
    network = start_unet(str(path), UNetConfig.from_dict(recipe.model))
    attach(network, LowRank(recipe.adapter.rank, recipe.adapter.alpha))
    if recipe.run.enable_gradient_checkpointing:
        network.enable_gradient_checkpointing()
    return network.train()


def _bytes_at_rest(network: UNet3D) -> int:
    """The network, and the gradients, the optimizer's two moments and the EMA of what is trained."""
    return nbytes(network) + 4 * nbytes(network, trained_only=True)


def _measure(recipe: AdapterRecipe, trainer: Trainer, max_seconds: float, at_rest: int) -> AdapterCost:
    """Try two steps: in the first one libraries start and memory is counted, the second one is timed."""
    with PeakMemory() as memory:
        trainer.try_step()
    started = time.perf_counter()
    trainer.try_step()
    step = time.perf_counter() - started
    data, run = recipe.data, recipe.run
    # A validation runs the network forward only, which is a third of a step, on as many windows.
    validation = step / 3 * data.num_val_samples / data.batch_size
    return AdapterCost(at_rest + memory.peak, step, validation, run.max_train_steps, run.validation_steps, max_seconds)

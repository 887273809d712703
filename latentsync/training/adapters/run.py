"""Training an adapter: from videos, or clips, of one person to an adapter file, by the U-Net's training with low-rank
changes in place of its weights.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from latentsync.atomic import atomic_file
from latentsync.checkpoint import load_unet_weights, start_unet
from latentsync.checkpoint.adapter import LowRank
from latentsync.checkpoint.files import fingerprint
from latentsync.config import build_config, read_yaml
from latentsync.data.manifest import Clip, write_manifest
from latentsync.data.person_crops import CropSettings, make_person_crops
from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.face.backends import load_detector
from latentsync.inference.job.sync_judge import load_sync
from latentsync.inference.weights import ModelSettings, WeightPaths, model_settings
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.places import CONFIGS
from latentsync.recipe import AdapterRecipe
from latentsync.runtime.device import choose_device
from latentsync.training.adapters.clips import hold_out, in_sync
from latentsync.training.adapters.low_rank import attach
from latentsync.training.adapters.task import AdapterTask, keep_changes_only
from latentsync.training.loop.clips import find_clips
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.precision import asked_precision
from latentsync.training.loop.run import open_run, run_folder
from latentsync.training.loop.trainer import Trainer, TrainingResult
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
from latentsync.training.unet.task import UNetSetup
from latentsync.training.unet.validation import BackgroundRendering, make_renderer, validation_video_of

logger = logging.getLogger(__name__)

CONFIGURATION = CONFIGS / "adapter.yaml"
NAME = "adapter"  # of the run's folder
STEADY_SHARE = 0.7  # of the samples, where a dub has one reference for a whole shot


# As of a U-Net's training, but what it began with is a part of what it computes.
_MAY_CHANGE = (
    *(key for key in MAY_CHANGE if key != "ckpt"),
    *("ckpt.save_ckpt_steps", "ckpt.keep_checkpoints", "adapter.patience", "adapter.max_minutes"),
    *("adapter.consent", "adapter.videos"),
)


@dataclass(frozen=True, slots=True)
class AdaptRequest:
    """``videos`` or ``clips`` (a folder, list or manifest of face crops), one of them. ``work`` keeps clips, caches and
    the run, so that the same request goes on where it was stopped. ``overrides``: ``section.key=value`` for the
    configuration."""

    output: Path
    work: Path
    weights: WeightPaths
    videos: tuple[Path, ...] = ()
    clips: Path | None = None
    unet_config: Path | None = None
    detector: str = "auto"
    consent: str = ""
    source: str = ""
    minutes: float | None = None
    overrides: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return self.work / NAME


def adapt(request: AdaptRequest) -> tuple[TrainingResult, AdapterRecipe]:
    """Train, or go on training; when it is complete, ``request.output`` is the best adapter.

    Raises ``ConfigError``, ``DataError``, ``PackageMissingError``, the ``WeightsError`` family and ``TrainingError``.
    """
    if bool(request.videos) == (request.clips is not None):
        raise ConfigError("Give videos or clips of the person, one of them.", remedy="See `latentsync adapt --help`.")
    request.weights.check()
    settings = model_settings(request.weights.unet, request.unet_config)
    clips = request.clips or _clips_of_videos(request, settings)
    recipe = make_recipe(request, settings, clips)
    result = train_adapter(recipe, NAME, _say_cost)
    if result is TrainingResult.FINISHED:
        with atomic_file(request.output, durable=True) as temporary:
            shutil.copyfile(run_folder(recipe, NAME) / "weights" / "best.safetensors", temporary)
    return result, recipe


def make_recipe(request: AdaptRequest, settings: ModelSettings, clips: Path) -> AdapterRecipe:
    """configs/adapter.yaml with what follows from the U-Net and the request. Raises ``ConfigError``."""
    from omegaconf import OmegaConf

    weights = request.weights
    config, _ = load_unet_weights(weights.unet)
    follows: dict[str, Any] = {
        "model": config.to_dict(),
        "data": {
            "train_output_dir": str(request.work),
            "train_data_dir" if clips.is_dir() else "train_fileslist": str(clips),
            "resolution": settings.resolution,
            "num_frames": settings.num_frames,
            "mask_image_path": f"{settings.mask}.png",
            "steady_reference": STEADY_SHARE if settings.steady_reference else 0.0,
        },
        "ckpt": {"resume_ckpt_path": str(weights.unet)},
        "networks": {"codec": str(weights.codec), "audio_encoder": str(weights.whisper)},
        "adapter": {
            "base": fingerprint(weights.unet),
            "consent": request.consent,
            "videos": request.source or ", ".join(video.name for video in request.videos),
            "max_minutes": request.minutes,
        },
    }
    file = read_yaml(CONFIGURATION)
    file.pop("model")
    mapping = OmegaConf.merge(file, follows, OmegaConf.from_dotlist(list(request.overrides)))
    return build_config(mapping, AdapterRecipe, source=" ".join([str(CONFIGURATION), *request.overrides]))


def held_out_clips(recipe: AdapterRecipe) -> Sequence[Clip]:
    """The clips that the training of ``recipe`` has not seen."""
    return find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe)).validation


def _clips_of_videos(request: AdaptRequest, settings: ModelSettings) -> Path:
    device = choose_device()
    detector = load_detector(request.detector, request.weights.auxiliary, str(device))
    shortest = UNetDataset.min_frames(settings.num_frames)
    made = make_person_crops(
        request.videos, detector, CropSettings(settings.resolution, shortest), request.work / "clips"
    )
    usable = {video: list(some) for video, some in made.items()}
    try:
        usable = in_sync(made, load_sync(request.weights, device))
    except WeightsMissingError as error:
        logger.warning("Whether audio and mouths are in sync was not checked: %s", error.message)
    manifest = request.work / "clips.jsonl"
    write_manifest(hold_out(usable), manifest)
    return manifest


def _say_cost(cost: AdapterCost) -> None:
    logger.info("This training takes %s.", cost)


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
    setup = UNetSetup(recipe, network, codec, objective, windows, ema, rendering, dub.work, notes)
    task = AdapterTask(recipe.adapter, setup)
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

"""From videos, or clips, of one person to an adapter file: clips, configuration, training."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.atomic import atomic_file
from latentsync.checkpoint import load_unet_weights
from latentsync.checkpoint.files import fingerprint
from latentsync.config import build_config, read_yaml
from latentsync.data.manifest import Clip, write_manifest
from latentsync.data.person_crops import CropSettings, make_person_crops
from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.face.backends import load_detector
from latentsync.inference.job.sync_judge import load_sync
from latentsync.inference.weights import ModelSettings, WeightPaths, model_settings
from latentsync.places import CONFIGS
from latentsync.recipe import AdapterRecipe
from latentsync.runtime.device import choose_device
from latentsync.training.adapters.clips import hold_out, in_sync
from latentsync.training.adapters.run import AdapterCost, train_adapter
from latentsync.training.loop.clips import find_clips
from latentsync.training.loop.run import run_folder
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.data import cache_folder

logger = logging.getLogger(__name__)

CONFIGURATION = CONFIGS / "adapter.yaml"
NAME = "adapter"  # of the run's folder
STEADY_SHARE = 0.7  # of the samples, where a dub has one reference for a whole shot


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

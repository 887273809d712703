"""What a validation shows of a U-Net besides its losses: dubbed pictures, and how well they fit the sound."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import torch

from latentsync.config import load_config
from latentsync.data.array_cache import ArrayCache
from latentsync.data.clip_reader import MEL_VERSION, MelReader
from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError, DataError
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.inference.job.validation_video import ValidationVideo, open_validation_video
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import DEFAULT_DIRECTORY, ModelSettings
from latentsync.metrics.stable_sync import StableSync, load_stable_sync
from latentsync.metrics.syncnet_v2 import SyncNetV2, load_syncnet_v2
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.training.unet.dubbed_clip import ClipJudges, DubbedClip
from latentsync.training.unet.held_out import HeldOutStretches, cross_stretches
from latentsync.training.unet.networks import audio_encoder_path, frozen_dtype

log = logging.getLogger(__name__)

AUXILIARY = DEFAULT_DIRECTORY / "auxiliary"


class ValidationPictures(Protocol):
    """Renders the same thing at every validation. ``figures`` names what ``render`` gives; ``marks`` are labelled sync
    cosines of pictures that no training changes."""

    figures: tuple[str, ...]
    marks: list[tuple[str, float]]

    def render(self, models: LatentModels, step: int) -> dict[str, float]:
        """Write pictures of ``step`` and score them; not a number where there is no score.

        Raises ``LatentSyncError`` if it cannot be done.
        """
        ...


def validation_video_of(recipe: UNetRecipe, device: torch.device) -> ValidationVideo | None:
    """The validation video with its sound, checked and with its faces found; None if none is named.

    Its own sound is taken where ``data.val_audio_path`` names no other. Raises the named error of what will not do.
    """
    data = recipe.data
    if not data.val_video_path:
        if data.val_audio_path:
            raise ConfigError(
                "data.val_audio_path names a sound, but data.val_video_path no video to dub with it.",
                remedy="Name both, or neither: then windows of the validation clips are shown.",
            )
        return None
    video, audio = Path(data.val_video_path), Path(data.val_audio_path or data.val_video_path)
    return open_validation_video(video, audio, data.val_detector, AUXILIARY, device, data.resolution)


def make_pictures(
    recipe: UNetRecipe,
    rehearsal: ValidationVideo | None,
    shown: UNetDataset,
    judge: StableSyncNet | None,
    codec: LatentCodec,
    device: torch.device,
    folder: Path,
    cache: Path,
) -> ValidationPictures | None:
    """The validation video if there is one, otherwise windows of the validation clips; ``shown`` has windows that are
    long enough to show. None, with a warning, if no clip can be shown.

    ``judge`` is the sync network that supervises, if there is one; otherwise that of ``data.syncnet_config_path``
    scores, if its weights are there. ``folder`` gets the pictures, ``cache`` keeps mel spectrograms.
    """
    data, run = recipe.data, recipe.run
    sampler = SamplerSettings(steps=run.inference_steps, guidance_scale=run.guidance_scale)
    sync = _scoring_network(recipe, judge, codec, device)
    if rehearsal is None:
        if sync is not None and sync.view.num_frames > shown.num_frames:
            log.info("No sync score at validations: the sync network sees %d frames.", sync.view.num_frames)
            sync = None
        mels = None
        if sync is not None:
            mels = MelReader(ArrayCache(Path(data.audio_mel_cache_dir or cache) / MEL_VERSION))
        try:
            stretches = cross_stretches(shown, mels, run.seed)
        except DataError as error:
            log.warning("Validations have no pictures: %s", error)
            return None
        keep_mask = shown.keep_mask.numpy()
        return HeldOutStretches(stretches, keep_mask, data.num_frames, sampler, run.seed, sync, folder)
    # A network at the start of its training draws no faces, which is no reason to stop.
    options = SyncOptions(sampler, seed=run.seed, check_output=False)
    settings = ModelSettings(data.resolution, data.num_frames, data.mask_image_path)
    encoder = AudioEncoder.from_file(audio_encoder_path(recipe), device)
    return DubbedClip(rehearsal, encoder, settings, options, ClipJudges(sync, _lip_network(device)), folder)


def _scoring_network(
    recipe: UNetRecipe, judge: StableSyncNet | None, codec: LatentCodec, device: torch.device
) -> StableSync | None:
    """The sync network of the configuration with its own view; ``judge`` if it is in memory already."""
    path = recipe.data.syncnet_config_path
    if not path or not Path(path).is_file():
        log.info("No sync score at validations: data.syncnet_config_path names no file.")
        return None
    sync = load_config(path, SyncNetRecipe)
    if judge is None:
        weights = sync.ckpt.inference_ckpt_path
        if not weights or not Path(weights).exists():
            log.info("No sync score at validations: the weights of %s are not there (%s).", path, weights)
            return None
        config, dtype = SyncNetConfig.from_dict(sync.model), frozen_dtype(recipe, device)
        return load_stable_sync(weights, config, sync.data.view, codec=codec, device=device, dtype=dtype)
    return StableSync(judge.eval(), sync.data.view, codec if sync.data.latent_space else None)


def _lip_network(device: torch.device) -> SyncNetV2 | None:
    path = AUXILIARY / "syncnet_v2.model"
    return load_syncnet_v2(path, device) if path.exists() else None

"""What a validation shows of a U-Net besides its losses: dubbed images, and how well they fit the audio."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import torch

from latentsync.config import load_config
from latentsync.data.clip_reader import MEL_VERSION, ArrayCache, MelReader
from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError, DataError
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.inference.job.validation_video import ValidationVideo, open_validation_video
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import ModelSettings
from latentsync.metrics.stable_sync import StableSync, load_stable_sync
from latentsync.metrics.syncnet_v2 import SyncNetV2, load_syncnet_v2
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.places import WEIGHTS
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.training.loop.precision import training_dtype
from latentsync.training.unet.data import cache_folder
from latentsync.training.unet.held_out_clips import HeldOutClips, cross_stretches
from latentsync.training.unet.networks import audio_encoder_path, sync_dtype
from latentsync.training.unet.validation_video import DubbedVideo, SyncNetworks

logger = logging.getLogger(__name__)

AUXILIARY = WEIGHTS / "auxiliary"


class ValidationRenderer(Protocol):
    """Renders the same thing at every validation. ``figures`` names what ``render`` gives; ``marks`` are labelled sync
    cosines of images that no training changes."""

    figures: tuple[str, ...]
    marks: list[tuple[str, float]]

    def render(self, models: LatentModels, step: int) -> dict[str, float]:
        """Write images of ``step`` and score them; not a number where there is no score.

        Raises ``LatentSyncError`` if it cannot be done.
        """
        ...


def validation_video_of(recipe: UNetRecipe, device: torch.device) -> ValidationVideo | None:
    """The validation video with its audio, checked and with its faces found; None if none is named.

    Its own audio is taken where ``data.val_audio_path`` names no other. Raises the named error of what will not do.
    """
    data = recipe.data
    if not data.val_video_path:
        if data.val_audio_path:
            raise ConfigError(
                "data.val_audio_path names an audio file, but data.val_video_path no video to dub with it.",
                remedy="Name both, or neither: then windows of the validation clips are shown.",
            )
        return None
    video, audio = Path(data.val_video_path), Path(data.val_audio_path or data.val_video_path)
    return open_validation_video(video, audio, data.val_detector, AUXILIARY, device, data.resolution)


def make_renderer(
    recipe: UNetRecipe,
    validation_video: ValidationVideo | None,
    shown: UNetDataset,
    syncnet: StableSyncNet | None,
    codec: LatentCodec,
    device: torch.device,
    folder: Path,
    sampler: SamplerSettings | None = None,
) -> ValidationRenderer | None:
    """The validation video if there is one, otherwise windows of the validation clips; ``shown`` has windows that are
    long enough to show. None, with a warning, if no clip can be shown.

    ``syncnet`` is the network of the sync loss, if there is one; otherwise that of ``data.syncnet_config_path`` scores,
    if its weights are there. ``folder`` gets the images. ``sampler`` None = ``run.inference_steps`` and
    ``run.guidance_scale``.
    """
    data, run = recipe.data, recipe.run
    sampler = sampler or SamplerSettings(steps=run.inference_steps, guidance_scale=run.guidance_scale)
    sync = _scoring_network(recipe, syncnet, codec, device)
    if validation_video is None:
        if sync is not None and sync.view.num_frames > shown.num_frames:
            logger.info("No sync score at validations: the sync network sees %d frames.", sync.view.num_frames)
            sync = None
        mels = None
        if sync is not None:
            mels = MelReader(ArrayCache(Path(data.audio_mel_cache_dir or cache_folder(recipe)) / MEL_VERSION))
        try:
            stretches = cross_stretches(shown, mels, run.seed)
        except DataError as error:
            logger.warning("Validations have no images: %s", error)
            return None
        keep_mask = shown.keep_mask.numpy()
        return HeldOutClips(stretches, keep_mask, data.num_frames, sampler, run.seed, sync, folder)
    # A network at the start of its training draws no faces, which is no reason to stop.
    options = SyncOptions(sampler, seed=run.seed, check_output=False)
    settings = ModelSettings(data.resolution, data.num_frames, data.mask_image_path)
    encoder = AudioEncoder.from_file(audio_encoder_path(recipe), device)
    networks = SyncNetworks(sync, _syncnet_v2(device))
    return DubbedVideo(validation_video, encoder, settings, options, networks, folder)


def _scoring_network(
    recipe: UNetRecipe, syncnet: StableSyncNet | None, codec: LatentCodec, device: torch.device
) -> StableSync | None:
    """The sync network of the configuration with what it looks at; ``syncnet`` if it is in memory already."""
    path = recipe.data.syncnet_config_path
    if not path or not Path(path).is_file():
        logger.info("No sync score at validations: data.syncnet_config_path names no file.")
        return None
    sync = load_config(path, SyncNetRecipe)
    if syncnet is None:
        weights = sync.ckpt.inference_ckpt_path
        if not weights or not Path(weights).exists():
            logger.info("No sync score at validations: the weights of %s are not there (%s).", path, weights)
            return None
        config, dtype = SyncNetConfig.from_dict(sync.model), sync_dtype(training_dtype(recipe.run, device))
        return load_stable_sync(weights, config, sync.data.view, codec=codec, device=device, dtype=dtype)
    return StableSync(syncnet.eval(), sync.data.view, codec if sync.data.latent_space else None)


def _syncnet_v2(device: torch.device) -> SyncNetV2 | None:
    path = AUXILIARY / "syncnet_v2.model"
    return load_syncnet_v2(path, device) if path.exists() else None

"""What a validation shows of a U-Net besides its losses: dubbed images, and how well they fit the audio.

They are made beside the training where there is room (background rendering), so that no process waits for them.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch

from latentsync.config import load_config
from latentsync.data.clip_reader import MEL_VERSION, ArrayCache, MelReader
from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError, DataError, LatentSyncError
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
from latentsync.runtime.memory import is_out_of_memory, release_memory
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.precision import training_dtype
from latentsync.training.loop.task import LateFigures
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


class BackgroundRendering(LateFigures):
    """Renders in a thread of its own, one validation at a time. On the main process only. ``notes`` gets what fails."""

    def __init__(self, renderer: ValidationRenderer, notes: Notes) -> None:
        self._notes = notes
        self.figures = renderer.figures
        self.marks = renderer.marks
        self._renderer = renderer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="validation images")
        self._pending: deque[tuple[int, Future[dict[str, float]]]] = deque()

    def wait(self) -> None:
        """Until nothing is rendered any more: before another copy of the network is made."""
        for _, rendering in self._pending:
            rendering.exception()

    def start(self, copy: Callable[[], LatentModels], step: int) -> None:
        """Begin with those of ``step``; ``copy``, called here, gives networks that do not change any more. Where there
        is no memory for them there are no images."""
        try:
            models = copy()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error)
        else:
            self._pending.append((step, self._pool.submit(self._render, models, step)))
            return
        release_memory()
        self._leave_out(step, f"there is no memory for a copy of the network: {failure}")

    def finished(self, wait: bool = False) -> list[tuple[int, dict[str, float]]]:
        """See ``task.LateFigures``."""
        found = []
        while self._pending and (wait or self._pending[0][1].done()):
            step, rendering = self._pending.popleft()
            found.append((step, rendering.result()))
        return found

    def _render(self, models: LatentModels, step: int) -> dict[str, float]:
        """What goes wrong with images is reported and costs the run nothing else."""
        try:
            return self._renderer.render(models, step)
        except Exception as error:
            if not (isinstance(error, LatentSyncError) or is_out_of_memory(error)):
                raise
            failure = str(error)
        release_memory()
        self._leave_out(step, failure)
        return dict.fromkeys(self.figures, math.nan)

    def _leave_out(self, step: int, why: str) -> None:
        self._notes.add(f"Step {step} has no validation images: {why}")


def fits_beside(device: torch.device, needed: int) -> bool:
    """Whether ``needed`` bytes are left on ``device`` beside all that the training has taken so far. What torch holds
    unused there is not left: the next step takes it. A processor has room; of other devices nobody knows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] >= needed
    return device.type == "cpu"

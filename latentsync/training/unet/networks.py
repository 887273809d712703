"""The networks of a U-Net's training: itself with its trained parts, codec, audio encoder, those of the losses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from lpips import LPIPS

from latentsync.checkpoint import load_codec, load_lpips, load_videomae, start_unet
from latentsync.config import load_config
from latentsync.diffusion.noise import LevelWeighting
from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.losses.reconstruction import PerceptualLoss
from latentsync.losses.sync import LatentSyncLoss, PixelSyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.metrics.stable_sync import load_stable_sync
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.training.loop.precision import training_dtype
from latentsync.training.unet.objective import LossWeights, UNetObjective, trainable_parameters

logger = logging.getLogger(__name__)

WHISPER_BY_WIDTH = {384: "checkpoints/whisper/tiny.pt", 768: "checkpoints/whisper/small.pt"}  # as published


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Which losses on the one-step estimate a configuration asks for, each with what it needs; None = not asked for.

    ``sync`` is the configuration of the sync network; ``perceptual`` and ``trepa`` are weight files.
    """

    sync: SyncNetRecipe | None
    perceptual: Path | None
    trepa: Path | None

    @property
    def sync_weights(self) -> Path | None:
        """Weight file of the sync network."""
        path = None if self.sync is None else self.sync.ckpt.inference_ckpt_path
        return None if path is None else Path(path)

    @property
    def need_pixels(self) -> bool:
        """Whether one of them looks at decoded faces."""
        in_pixels = self.sync is not None and not self.sync.data.latent_space
        return in_pixels or self.perceptual is not None or self.trepa is not None


def loss_config_of(recipe: UNetRecipe) -> LossConfig:
    """The losses of a configuration; one of weight 0 is not computed. Raises ``ConfigError`` for contradictions."""
    run, networks = recipe.run, recipe.networks
    perceptual = Path(networks.vgg) if run.pixel_space_supervise and run.perceptual_loss_weight else None
    trepa = Path(networks.videomae) if run.pixel_space_supervise and run.trepa_loss_weight else None
    sync = _sync_recipe(recipe) if run.use_syncnet and run.sync_loss_weight else None
    return LossConfig(sync, perceptual, trepa)


def weight_files(recipe: UNetRecipe, losses: LossConfig) -> dict[str, Path]:
    """What a training needs to find on the disk, by its use."""
    files = {"codec": Path(recipe.networks.codec), "audio encoder": audio_encoder_path(recipe)}
    if recipe.student is not None:
        files["teacher of the student"] = Path(recipe.student.teacher)
    if recipe.ckpt.resume_ckpt_path:
        files["U-Net to start from"] = Path(recipe.ckpt.resume_ckpt_path)
    if losses.sync_weights is not None:
        files["sync network"] = losses.sync_weights
    if losses.perceptual is not None:
        files["VGG of the perceptual loss"] = losses.perceptual
    if losses.trepa is not None:
        files["VideoMAE of the temporal loss"] = losses.trepa
    return files


def require_files(files: Mapping[str, Path]) -> None:
    """Raise ``WeightsMissingError`` naming all files that are not there."""
    missing = [f"{path} ({use})" for use, path in files.items() if not path.exists()]
    if missing:
        raise WeightsMissingError(
            f"Training needs {len(missing)} weight file(s) that are not there: {', '.join(missing)}.",
            remedy="`latentsync weights --for training` fetches the published ones. A U-Net is "
            "trained from scratch with ckpt.resume_ckpt_path=null, a loss is left out with run.<its>_loss_weight=0, "
            "and a sync network of your own comes from `latentsync train syncnet`.",
        )


def audio_encoder_path(recipe: UNetRecipe) -> Path:
    """The Whisper file of a configuration. Raises ``ConfigError`` if its width is that of no published one."""
    if recipe.networks.audio_encoder:
        return Path(recipe.networks.audio_encoder)
    width = recipe.model.get("cross_attention_dim")
    if width not in WHISPER_BY_WIDTH:
        raise ConfigError(
            f"model.cross_attention_dim is {width}, which is no published audio encoder's.",
            remedy="Name the encoder's weight file in networks.audio_encoder.",
        )
    return Path(WHISPER_BY_WIDTH[width])


@dataclass(frozen=True, slots=True)
class LossNetworks:
    """The networks of the losses that are asked for."""

    sync: StableSyncNet | None = None
    perceptual: LPIPS | None = None
    trepa: VideoMAE | None = None


def load_loss_networks(
    recipe: UNetRecipe, losses: LossConfig, codec: LatentCodec, device: torch.device
) -> LossNetworks:
    """The networks with their weights on ``device``. Raises the ``WeightsError`` family, also for a sync network that
    looks at something else than its configuration says or at the latents of another ``codec``, and ``ConfigError``."""
    dtype = training_dtype(recipe.run, device)
    sync = perceptual = trepa = None
    if losses.sync is not None and losses.sync_weights is not None:
        config, view = SyncNetConfig.from_dict(losses.sync.model), losses.sync.data.view
        precision = sync_dtype(dtype)
        sync = load_stable_sync(losses.sync_weights, config, view, codec=codec, device=device, dtype=precision).network
    if losses.perceptual is not None:
        perceptual = load_lpips(losses.perceptual, device=device)
    if losses.trepa is not None:
        trepa = load_videomae(losses.trepa, videomae_config(recipe), device=device, dtype=dtype)
    return LossNetworks(sync, perceptual, trepa)


def make_objective(
    recipe: UNetRecipe,
    losses: LossConfig,
    networks: LossNetworks,
    codec: LatentCodec,
    make: Callable[..., UNetObjective] = UNetObjective,
) -> UNetObjective:
    """The losses of a configuration on ``networks``, as ``make`` computes them. Raises ``ConfigError`` for an unknown
    weighting of levels."""
    sync: LatentSyncLoss | PixelSyncLoss | None = None
    if losses.sync is not None and networks.sync is not None:
        data = losses.sync.data
        if data.latent_space:
            sync = LatentSyncLoss(networks.sync, data.lower_half)
        else:
            sync = PixelSyncLoss(networks.sync, data.resolution, data.lower_half)
    if recipe.run.enable_gradient_checkpointing and networks.trepa is not None:
        networks.trepa.enable_gradient_checkpointing()
    if recipe.run.enable_gradient_checkpointing and losses.need_pixels:
        codec.enable_gradient_checkpointing()
    return make(
        codec,
        loss_weights(recipe),
        sync=sync,
        perceptual=None if networks.perceptual is None else PerceptualLoss(networks.perceptual),
        trepa=None if networks.trepa is None else TrepaLoss(networks.trepa),
    )


def build_unet(recipe: UNetRecipe) -> UNet3D:
    """The network in float32 with its start weights, of which those require gradients that the stage trains."""
    config = UNetConfig.from_dict(recipe.model)
    path = recipe.ckpt.resume_ckpt_path
    network = start_unet(path, config) if path else UNet3D(config)
    return choose_trained(network, recipe).train()


def choose_trained(network: UNet3D, recipe: UNetRecipe) -> UNet3D:
    """Let exactly the parameters require gradients that ``run.trainable_modules`` names.

    As published, a network without motion modules is trained as a whole. Raises ``ConfigError`` for an entry that fits
    no parameter.
    """
    run = recipe.run
    patterns = run.trainable_modules if network.config.use_motion_module else None
    if run.trainable_modules and patterns is None:
        logger.warning("run.trainable_modules is for networks with motion modules; the whole network is trained.")
    network.requires_grad_(False)
    for parameter in trainable_parameters(network, patterns).values():
        parameter.requires_grad_(True)
    if run.enable_gradient_checkpointing:
        network.enable_gradient_checkpointing()
    return network


def load_frozen_codec(recipe: UNetRecipe, device: torch.device) -> LatentCodec:
    """The codec, frozen, in the precision of the training."""
    dtype = training_dtype(recipe.run, device)
    return load_codec(recipe.networks.codec, device=device, dtype=dtype).requires_grad_(False)


def sync_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision of the sync network in a training in ``dtype``.

    Its loss is -log of the cosine of two embeddings. With the 8 bits of bfloat16 the direction of its gradient is that
    of float32 to a cosine of 0.98 only (measured with weights of the published size); this small network can afford
    float32.
    """
    return torch.float32 if dtype is torch.bfloat16 else dtype


def loss_weights(recipe: UNetRecipe) -> LossWeights:
    """The factors of a configuration."""
    run = recipe.run
    return LossWeights(
        recon=run.recon_loss_weight,
        sync=run.sync_loss_weight,
        perceptual=run.perceptual_loss_weight,
        trepa=run.trepa_loss_weight,
        levels=cast(LevelWeighting, run.loss_levels),  # an unknown name is refused by the objective
        recon_levels=cast(LevelWeighting, run.recon_levels),
        kept_area=run.kept_area_weight,
        movement=run.movement_loss_weight,
    )


def videomae_config(recipe: UNetRecipe) -> VideoMAEConfig:
    """The published encoder, or what ``networks.videomae_model`` makes of it. Raises ``ConfigError``."""
    try:
        return VideoMAEConfig(**recipe.networks.videomae_model)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"networks.videomae_model describes no encoder: {error}.",
            remedy="Leave it out for the published file; its keys are those of models.videomae.VideoMAEConfig.",
        ) from error


def _sync_recipe(recipe: UNetRecipe) -> SyncNetRecipe:
    """The configuration of the sync network, held against the windows of this one."""
    path = recipe.data.syncnet_config_path
    if not path:
        raise ConfigError(
            "run.use_syncnet is true, but data.syncnet_config_path names no sync network.",
            remedy="Name its configuration, such as configs/syncnet/syncnet_16_pixel_attn.yaml.",
        )
    sync, data = load_config(path, SyncNetRecipe), recipe.data
    latent_channels = UNetConfig.from_dict(recipe.model).out_channels
    channels = sync.data.num_frames * (latent_channels if sync.data.latent_space else 3)
    problem = None
    if sync.data.num_frames != data.num_frames:
        problem = f"sees windows of {sync.data.num_frames} frames, data.num_frames is {data.num_frames}"
    elif (seen := SyncNetConfig.from_dict(sync.model).visual_encoder.in_channels) != channels:
        problem = f"takes {seen} channels of image, where its windows have {channels}"
    elif sync.data.latent_space and sync.data.resolution != data.resolution:
        problem = f"sees latents of {sync.data.resolution} px, data.resolution is {data.resolution}"
    elif not sync.data.latent_space and not recipe.run.pixel_space_supervise:
        problem = "sees pixels, but run.pixel_space_supervise is false"
    elif not sync.ckpt.inference_ckpt_path:
        problem = "has no weights: its ckpt.inference_ckpt_path is empty"
    if problem:
        raise ConfigError(
            f"The sync network of {path} {problem}.", remedy="Choose another one in data.syncnet_config_path."
        )
    return sync

"""What a step of a U-Net's training takes on a GPU, told on any machine and without weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from latentsync.checkpoint import build_codec
from latentsync.constants import FEATURES_PER_FRAME, LATENT_DOWNSCALE, SYNCNET_MEL_BANDS
from latentsync.models.codec import LatentCodec
from latentsync.models.perceptual import build_lpips
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE
from latentsync.recipe import UNetRecipe
from latentsync.training.latent_batch import LatentBatch, PosteriorBatch, StepDraws, draw_latents, encode_batch
from latentsync.training.memory_estimate import MemoryEstimate, PeakMemory, nbytes
from latentsync.training.unet_networks import (
    JudgeNetworks,
    Judges,
    choose_trained,
    frozen_dtype,
    judges_of,
    make_objective,
    videomae_config,
)
from latentsync.types import UNetBatch

Network = TypeVar("Network", bound=nn.Module)

_TAPS = 5  # hidden states of Whisper per position
_GPU = torch.device("cuda")  # whose precisions are meant; nothing is put there


def estimate_memory(recipe: UNetRecipe) -> MemoryEstimate:
    """Run a step of the recipe on tensors without content: seconds to a minute of work, no memory to speak of."""
    judges = judges_of(recipe)
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that look into tensors
        network = choose_trained(UNet3D(UNetConfig.from_dict(recipe.model)), recipe).train()
        codec = _cast(build_codec(recipe.networks.codec), frozen_dtype(recipe, _GPU))
        judging = _fresh_judges(recipe, judges)
        objective = make_objective(recipe, judges, judging, codec)
        with PeakMemory() as memory:
            batch, draws = _batch(recipe, codec)
            objective(_as_on_gpu(recipe, network), batch, draws).total.backward()
        trained = nbytes(network, trained_only=True)
        return MemoryEstimate(
            weights=nbytes(network),
            optimizer=(3 if recipe.run.ema_decay else 2) * trained,
            frozen=sum(nbytes(x) for x in (codec, judging.sync, judging.perceptual, judging.trepa) if x is not None),
            step=memory.peak,
        )


def _fresh_judges(recipe: UNetRecipe, judges: Judges) -> JudgeNetworks:
    dtype = frozen_dtype(recipe, _GPU)
    return JudgeNetworks(
        sync=judges.sync and _cast(StableSyncNet(SyncNetConfig.from_dict(judges.sync.model)), dtype),
        perceptual=judges.perceptual and build_lpips(),
        trepa=judges.trepa and _cast(VideoMAE(videomae_config(recipe)), dtype),
    )


def _cast(network: Network, dtype: torch.dtype) -> Network:
    """As ``network.to(dtype)``, which does not take tensors without content."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point():
                    cast = tensor.detach().to(dtype)
                    tensors[name] = nn.Parameter(cast) if isinstance(tensor, nn.Parameter) else cast
    return network


def _batch(recipe: UNetRecipe, codec: LatentCodec) -> tuple[LatentBatch, StepDraws]:
    """A batch of the recipe's shapes, with the encoding before it unless the latents come from a cache."""
    data = recipe.data
    clips, frames, side = data.batch_size, data.num_frames, data.resolution // LATENT_DOWNSCALE
    channels = recipe.model["out_channels"]
    pictures = torch.empty(clips, frames, 3, data.resolution, data.resolution)
    latents = torch.empty(clips, channels, frames, side, side)
    audio = torch.empty(clips, frames, FEATURES_PER_FRAME * _TAPS, recipe.model["cross_attention_dim"])
    mel = torch.empty(clips, 1, SYNCNET_MEL_BANDS, -(-frames * 16 // 5))
    keep_mask = torch.empty(1, data.resolution, data.resolution)
    draws = StepDraws(torch.zeros(clips, dtype=torch.int64), latents)
    if data.cache_latents:
        posterior = torch.empty(clips, frames, 2, channels, side, side)
        cached = PosteriorBatch(posterior, posterior + 0, posterior + 0, pictures, keep_mask, audio, mel, ())
        return draw_latents(cached, torch.empty(3, clips, frames, channels, side, side)), draws
    windows = UNetBatch(pictures, pictures * keep_mask, pictures + 0, keep_mask, audio, mel, ())
    return encode_batch(codec, windows, torch.empty(3, clips, frames, channels, side, side)), draws


def _as_on_gpu(recipe: UNetRecipe, network: UNet3D) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The network under mixed precision. bfloat16 takes what float16 takes and is known to the CPU's autocast."""

    def forward(sample: Tensor, timestep: Tensor, audio: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.run.mixed_precision_training):
            return network(sample, timestep, audio)

    return forward

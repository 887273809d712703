"""Networks and inputs for the steps, made on the device: their sizes are the published ones, their values do not matter
where speed and memory are measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from benchmarks.gpu.session import Context
from benchmarks.networks import TOPOLOGIES, LoadedNetworks
from latentsync.constants import LATENT_DOWNSCALE
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.loading import arrange
from latentsync.inference.weights import ModelSettings
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.models.whisper import WhisperTaps
from latentsync.types import Window
from tests.golden import fill_by_rule
from tests.models.published import on_meta

SPREAD = 0.02  # standard deviation of the weights


def drawn_on(device: torch.device, dtype: torch.dtype, build: Callable[[], nn.Module]) -> nn.Module:
    """A module whose tensors are drawn on the device, without ever being anywhere else."""
    module = on_meta(build).to(dtype).to_empty(device=device).eval()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(std=SPREAD)
    return module.requires_grad_(False)


def drawn_models(context: Context, model: str, dtype: torch.dtype, compiled: bool = False) -> LatentModels:
    """U-Net and codec of one of ``TOPOLOGIES``, the tiny ones in the smoke size."""
    topology = TOPOLOGIES[context.pick(model, "tiny")]
    device = context.device
    unet = drawn_on(device, dtype, lambda: UNet3D(topology.unet))
    codec = LatentCodec(drawn_on(device, dtype, lambda: AutoencoderKL.from_config(topology.codec)))
    return arrange(LatentModels(unet, codec, device, dtype), compiled)


def drawn_networks(context: Context, model: str, dtype: torch.dtype) -> LoadedNetworks:
    """The same with an audio encoder."""
    topology = TOPOLOGIES[context.pick(model, "tiny")]
    encoder = AudioEncoder(fill_by_rule(WhisperTaps(topology.whisper)), context.device, dtype)
    return LoadedNetworks(drawn_models(context, model, dtype), encoder, ModelSettings(topology.resolution))


def side_of(context: Context, model: str) -> int:
    """R of a model, px."""
    return TOPOLOGIES[context.pick(model, "tiny")].resolution


def windows_of(models: LatentModels, count: int, side: int, frames: int = 16, first: int = 0) -> list[Window]:
    """Windows of noise, numbered from ``first``."""
    rng = np.random.default_rng(first)
    width = models.unet.config.cross_attention_dim
    return [
        Window(
            first + number,
            rng.uniform(-1, 1, (frames, 3, side, side)).astype(np.float32),
            rng.standard_normal((frames, 50, width)).astype(np.float32),
        )
        for number in range(count)
    ]


def unet_inputs(models: LatentModels, batch: int, side: int, frames: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """What an evaluation of ``batch`` windows takes; guidance makes two of one."""
    config, cells = models.unet.config, side // LATENT_DOWNSCALE
    like = {"device": models.device, "dtype": models.dtype}
    sample = torch.randn(batch, config.in_channels, frames, cells, cells, **like)
    audio = torch.randn(batch, frames, 50, config.cross_attention_dim, **like)
    return sample, torch.full((), 500, device=models.device), audio


def timed(device: torch.device, function: Callable[[], object], rounds: int, warm_ups: int = 2) -> tuple[float, float]:
    """Milliseconds of a call until its work is done, and until the thread that launches it is free; the best of
    ``rounds``."""
    for _ in range(warm_ups):
        function()
    whole, launching = [], []
    for _ in range(rounds):
        settle(device)
        start = time.perf_counter()
        function()
        launching.append(time.perf_counter() - start)
        settle(device)
        whole.append(time.perf_counter() - start)
    return 1e3 * min(whole), 1e3 * min(launching)


def settle(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def short(dtype: torch.dtype) -> str:
    """As ``--precision`` names it."""
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]

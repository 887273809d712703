"""Training steps on this device: their speed by precision and optimizer, and the gradients of half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu.checks import CudaPeak
from benchmarks.gpu.networks import drawn_models, drawn_on, short, side_of, timed, unet_inputs
from benchmarks.gpu.session import Context, Row
from latentsync.config import read_yaml
from latentsync.constants import LATENT_DOWNSCALE
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig, TowerConfig
from latentsync.runtime.memory import is_out_of_memory, release_memory

SYNCNET = Path(__file__).parents[2] / "configs" / "syncnet" / "syncnet_16_pixel_attn.yaml"
MEL_FRAMES = 52  # of 16 video frames


def training(context: Context) -> Iterator[Row]:
    """Forward, backward and AdamW of stage 1's U-Net and of the sync network; then the gradients of half precision."""
    for name, build in {"U-Net, stage 1": _unet_loss, "StableSyncNet": _syncnet_loss}.items():
        for precision in context.pick(("fp32", "tf32", "bf16"), ("fp32",)):
            for fused in (False, True):
                release_memory()
                row: Row = {"network": name, "precision": precision, "fused_adamw": fused}
                try:
                    yield row | _step_of(context, build, precision, fused)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    yield row | {"step_ms": None, "allocated_mib": None}
    yield from _gradients(context)


def _step_of(
    context: Context, build: Callable[[Context], tuple[nn.Module, Callable[[], Tensor]]], precision: str, fused: bool
) -> Row:
    network, loss = build(context)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=fused, foreach=False if not fused else None)
    half = precision == "bf16"

    def step() -> None:
        with torch.autocast(context.device.type, torch.bfloat16, enabled=half):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    with CudaPeak(context.device) as peak, _tf32(precision == "tf32"):
        whole, _ = timed(context.device, step, context.pick(3, 1), warm_ups=1)
    return {"step_ms": whole, "allocated_mib": peak.allocated}


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    """Products of float32 in TF32 inside the block, or in full."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _unet_loss(context: Context) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A window of noise; activations are computed anew for the backward pass, as published."""
    models = drawn_models(context, "1.5", torch.float32)
    network = models.unet.train().requires_grad_(True)
    network.enable_gradient_checkpointing()
    inputs = unet_inputs(models, 1, side_of(context, "1.5"), context.pick(16, 2))
    return network, lambda: network(*inputs).float().square().mean()


def _syncnet_loss(context: Context) -> tuple[nn.Module, Callable[[], Tensor]]:
    config = SyncNetConfig.from_dict(read_yaml(SYNCNET)["model"])
    if context.smoke:
        config = SyncNetConfig(_narrow(config.audio_encoder), _narrow(config.visual_encoder))
    network = drawn_on(context.device, torch.float32, lambda: StableSyncNet(config)).train().requires_grad_(True)
    batch = context.pick(64, 2)
    visual = torch.rand(batch, config.visual_encoder.in_channels, 128, 256, device=context.device)
    mel = torch.randn(batch, 1, 80, MEL_FRAMES, device=context.device)

    def loss() -> Tensor:
        seen, heard = network(visual, mel)
        return 1 - (seen * heard).sum(dim=1).float().mean()

    return network, loss


def _narrow(tower: TowerConfig) -> TowerConfig:
    return replace(tower, block_out_channels=(32,) * len(tower.block_out_channels))


def _gradients(context: Context) -> Iterator[Row]:
    """At the latents, through the codec's decoder, against those of single precision."""
    side = side_of(context, "1.5")
    cells = side // LATENT_DOWNSCALE
    codec = drawn_models(context, "1.5", torch.float32).codec
    latents = torch.randn(context.pick(4, 1), codec.channels, cells, cells, device=context.device)
    target = torch.rand(len(latents), 3, side, side, device=context.device)

    def gradient(dtype: torch.dtype) -> Tensor:
        codec.to(dtype)
        own = latents.clone().requires_grad_(True)
        (codec.decode(own) - target).square().mean().backward()
        return own.grad

    wanted = gradient(torch.float32)
    for dtype in (torch.bfloat16, torch.float16):
        found = gradient(dtype)
        cosine = torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0).item()
        yield {
            "network": "codec's decoder",
            "precision": short(dtype),
            "gradient_cosine": cosine,
            "gradient_zeros": (found == 0).float().mean().item(),
        }

"""What a run will cost, said before it starts: passes of the network, time, memory, disk. Rough on purpose."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import torch

from latentsync.diffusion.sampler import SamplerSettings
from latentsync.types import VideoInfo

# Floating-point operations per frame of the full-size networks at 256 pixels, counted with
# torch.utils.flop_counter on the published configuration; they grow with the area.
UNET_FLOPS = 253e9
UNET_BYTES = 5.07e9  # size of that U-Net's file: smaller networks are taken to cost in proportion
CODEC_FLOPS = 2 * 273e9 + 622e9  # two encodings and one decoding
CACHED_SHARE = 0.15  # of a pass that starts from cached features; the outermost layers are the largest pictures
UTILISATION = 0.4  # of the matrix-product speed that a probe finds; what convolutions reach
FRAMES_IN_FLIGHT = 110  # frames that the stages and queues hold at most with one window per batch
BITS_PER_PIXEL = 0.15  # of an encoded result; talking heads at the default quality stay below


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` is good to a factor of two or three; the bar of the run knows better after the first window."""

    frames: int
    windows: int
    network_passes: int
    seconds: float
    memory_bytes: int  # of frames in flight, without the networks
    disk_bytes: int

    def describe(self) -> str:
        return (
            f"{self.frames} frames, {self.windows} windows, {self.network_passes} passes of the U-Net: "
            f"about {_duration(self.seconds)}; memory for frames about {self.memory_bytes / 1e9:.1f} GB, "
            f"result about {self.disk_bytes / 1e6:.0f} MB."
        )


def estimate(
    info: VideoInfo,
    frames: int,
    window_length: int,
    resolution: int,
    sampler: SamplerSettings,
    unet_bytes: int,
    flops_per_second: float,
) -> Estimate:
    """The cost of ``frames`` frames of a result; ``flops_per_second`` as ``measure_speed`` finds it."""
    windows = ceil(frames / window_length)
    branches = 2 if sampler.guided else 1
    full = ceil(sampler.steps / sampler.cache_interval)
    effective = full + (sampler.steps - full) * CACHED_SHARE
    area = (resolution / 256) ** 2
    size = min(1.0, unet_bytes / UNET_BYTES)
    per_frame = area * (UNET_FLOPS * size * branches * effective + CODEC_FLOPS * size)
    pixels = info.width * info.height
    return Estimate(
        frames=frames,
        windows=windows,
        network_passes=windows * sampler.steps,
        seconds=windows * window_length * per_frame / (flops_per_second * UTILISATION),
        memory_bytes=FRAMES_IN_FLIGHT * pixels * 3,
        disk_bytes=int(max(pixels * frames * BITS_PER_PIXEL / 8, _source_bytes(info, frames / info.fps))),
    )


def measure_speed(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Operations per second of a matrix product, the best of a few, in about a tenth of a second."""
    a = torch.randn(side, side, device=device).to(dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def _source_bytes(info: VideoInfo, seconds: Fraction) -> float:
    return (info.bit_rate or 0) / 8 * float(seconds)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

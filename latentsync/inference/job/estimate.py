"""What a run will cost, estimated before it starts: denoising steps, time, memory, disk. Rough on purpose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from latentsync.diffusion.settings import SamplerSettings
from latentsync.types import VideoInfo

# Floating-point operations per frame of the full-size networks at 256 pixels, counted with
# torch.utils.flop_counter on the published configuration; they grow with the area. Smaller networks are taken to cost
# in proportion to their parameters.
UNET_FLOPS, UNET_PARAMETERS = 253e9, 1.267e9
CODEC_FLOPS, CODEC_PARAMETERS = 2 * 273e9 + 622e9, 83.7e6  # two encodings and one decoding
CACHED_SHARE = 0.15  # cost of a step that reuses features, over a full one: the outermost layers have most pixels
UTILISATION = 0.4  # share of the speed of a matrix product that convolutions reach
PIXEL_SECONDS = 70e-9  # of one core, to decode, paste and encode a pixel (docs/experiments/benchmarks-2026-11.md)
START_SECONDS = 2.0  # to load small networks and to generate the first window
FRAMES_IN_FLIGHT = 110  # frames that all stages and queues hold at most, with one window per batch
BITS_PER_PIXEL = 0.15  # of an encoded result; talking heads at the default quality stay below


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Numbers of parameters."""

    unet: int
    codec: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run.

    ``seconds`` is right within a factor of two or three; the progress bar knows better after the first window.
    ``denoising_steps``: calls of the sampler's loop, counted for each window. ``memory_bytes``: of the frames that wait
    between the stages, without the networks.
    """

    frames: int
    windows: int
    denoising_steps: int
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def describe(self) -> str:
        """One sentence for the terminal."""
        return (
            f"{self.frames} frames, {self.windows} windows, {self.denoising_steps} denoising steps: "
            f"about {_duration(self.seconds)}; memory for frames about {self.memory_bytes / 1e9:.1f} GB, "
            f"result about {self.disk_bytes / 1e6:.0f} MB."
        )


def estimate(
    info: VideoInfo,
    frames: int,
    window_length: int,
    resolution: int,
    sampler: SamplerSettings,
    networks: NetworkSizes,
    flops_per_second: float,
) -> Estimate:
    """The cost of a result of ``frames`` frames; ``flops_per_second`` as measured by ``device.measure_speed``."""
    windows = ceil(frames / window_length)
    branches = 1 + sampler.guided_share
    full = ceil(sampler.steps / sampler.cache_interval)
    effective = full + (sampler.steps - full) * CACHED_SHARE
    area = (resolution / 256) ** 2
    unet = UNET_FLOPS * networks.unet / UNET_PARAMETERS * branches * effective
    codec = CODEC_FLOPS * networks.codec / CODEC_PARAMETERS
    generating = windows * window_length * area * (unet + codec) / (flops_per_second * UTILISATION)
    pixels = info.width * info.height
    around = frames * pixels * PIXEL_SECONDS / (os.cpu_count() or 1)
    return Estimate(
        frames=frames,
        windows=windows,
        denoising_steps=windows * sampler.steps,
        seconds=START_SECONDS + generating + around,
        memory_bytes=FRAMES_IN_FLIGHT * pixels * 3,
        disk_bytes=int(max(pixels * frames * BITS_PER_PIXEL / 8, _source_bytes(info, frames / info.fps))),
    )


def _source_bytes(info: VideoInfo, seconds: Fraction) -> float:
    return (info.bit_rate or 0) / 8 * float(seconds)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

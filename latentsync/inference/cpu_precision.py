"""Whether bfloat16 is quicker than float32 on this processor, found out with the first layers of the very U-Net.

Some processors multiply in bfloat16 (AVX512-BF16, AMX), most only convert and are up to a hundred times slower. The two
take turns, processor time counts and not the clock, and the quickest of each: it matters little what else the machine
does. A decision is kept for the process and, in the cache folder, for the next ones, so that two runs of one job, or an
excerpt and the whole, compute alike.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch
from torch import nn

from latentsync.atomic import write_text
from latentsync.checkpoint.files import fingerprint
from latentsync.constants import LATENT_DOWNSCALE, WINDOW_FRAMES
from latentsync.errors import ConfigError
from latentsync.models.unet_config import UNetConfig
from latentsync.places import cache_folder
from latentsync.runtime.device import cpu_has_bf16

ROUNDS = 5  # of either precision, after one that starts the libraries
LEAST_WORK = 5e7  # multiplications of a convolution of the first level: in smaller networks there is nothing to gain
TOKENS = 50  # of audio for a frame, about

_HALF, _SINGLE = torch.bfloat16, torch.float32
_FIRST = "down_blocks.0."


def cpu_precision(unet: Path, resolution: int) -> torch.dtype:
    """bfloat16 where this processor runs the first layers of the U-Net file ``unet`` quicker in it, else float32.

    ``resolution``: face side in pixels. Raises the ``WeightsError`` family.
    """
    if not cpu_has_bf16():
        return _SINGLE
    return _decide(unet, fingerprint(unet), resolution)


@cache
def _decide(unet: Path, identity: str, resolution: int) -> torch.dtype:
    file = _decision_file(identity, resolution)
    known = None if file is None else _read(file)
    if known is not None:
        return known
    # Here, for the first run on a machine: they bring the libraries of the networks.
    from latentsync.checkpoint.tensors import fill
    from latentsync.checkpoint.unet import load_unet_weights
    from latentsync.models.unet import UNet3D

    config, weights = load_unet_weights(unet)
    side, width = resolution // LATENT_DOWNSCALE, config.block_out_channels[0]
    if 9 * width**2 * WINDOW_FRAMES * side**2 < LEAST_WORK:
        return _SINGLE
    own = {name.removeprefix(_FIRST): tensor for name, tensor in weights.items() if name.startswith(_FIRST)}
    stages = {}
    for dtype in (_SINGLE, _HALF):
        with torch.device("meta"):
            stage = UNet3D(config).down_blocks[0]
        stages[dtype] = fill(stage, own, "cpu", dtype)
    chosen = _HALF if _half_is_quicker(stages, config, side) else _SINGLE
    if file is not None:
        _keep(file, chosen)
    return chosen


@torch.inference_mode()
def _half_is_quicker(stages: Mapping[torch.dtype, nn.Module], config: UNetConfig, side: int) -> bool:
    """Whether the first level takes less time for a guided window in bfloat16; ``stages``: in either precision.

    It has the longest sequences, whose attention gains nothing: the other levels and the codec gain more than it does.
    """
    from latentsync.models.blocks import Condition

    frames, width = min(WINDOW_FRAMES, config.max_frames), config.block_out_channels[0]
    best = dict.fromkeys(stages, math.inf)
    for _ in range(1 + ROUNDS):
        for dtype, stage in stages.items():
            hidden = torch.ones(2 * frames, width, side, side, dtype=dtype).to(memory_format=torch.channels_last)
            audio = torch.ones(2 * frames, TOKENS, config.cross_attention_dim, dtype=dtype)
            condition = Condition(frames, torch.ones(2, 4 * width, dtype=dtype), audio)
            started = time.process_time()
            stage(hidden, condition)
            best[dtype] = min(best[dtype], time.process_time() - started)
    return best[_HALF] < best[_SINGLE]


def _decision_file(identity: str, resolution: int) -> Path | None:
    """Where the decision for such a network on this machine is kept; None for a user without a home."""
    threads = torch.get_num_threads()
    stated = [identity, resolution, torch.__version__, platform.node(), torch.cpu.get_capabilities(), threads]
    key = blake2b(json.dumps(stated, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()
    try:
        return cache_folder() / "precision" / f"{key}.json"
    except ConfigError:
        return None


def _read(file: Path) -> torch.dtype | None:
    try:
        return {"bf16": _HALF, "fp32": _SINGLE}.get(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(file: Path, chosen: torch.dtype) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps("bf16" if chosen is _HALF else "fp32"))
    except OSError:  # a cache that cannot be written: the next process finds out for itself
        return

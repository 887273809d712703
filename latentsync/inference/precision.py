"""The precision that works on a device, and its speed.

Some processors multiply in bfloat16 (AVX512-BF16, AMX), most only convert and are up to a hundred times slower. Which
it is, is found out with the first layers of the very U-Net: bfloat16 and float32 take turns, processor time counts and
not the clock, and the quickest of each, so it matters little what else the machine does. A decision is kept for the
process and, in the cache folder, for the next ones, so that two runs of one job, or an excerpt and the whole, compute
alike.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend

from latentsync.atomic import write_text
from latentsync.checkpoint.files import fingerprint
from latentsync.constants import LATENT_DOWNSCALE, WINDOW_FRAMES
from latentsync.errors import ConfigError, DeviceError
from latentsync.models.unet_config import UNetConfig
from latentsync.places import cache_folder
from latentsync.runtime.device import cpu_has_bf16
from latentsync.runtime.memory import is_out_of_memory, with_memory_freed

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PROBE_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 4e-2}  # relative L2 error: 5 times the usual one
WIDEST_HEAD = 160  # channels of an attention head of the published U-Net, at most
LONG_PRODUCT = 0.3  # s; matrix products that would take longer are not tried
LONG_TEST = 2.0  # s, after which no more of the largest products are tried
ROUNDS = 5  # of either precision, after one that starts the libraries
LEAST_WORK = 5e7  # multiplications of a convolution of the first level: in smaller networks there is nothing to gain
TOKENS = 50  # of audio for a frame, about

_HALF, _SINGLE = torch.bfloat16, torch.float32
_FIRST = "down_blocks.0."


def choose_precision(
    name: str, device: torch.device, unet: Path | None = None, resolution: int | None = None
) -> torch.dtype:
    """'auto' is the first of fp16, bf16, fp32 that passes a numeric probe on ``device``; on a CPU fp32, or bf16 where
    that is quicker for the U-Net file ``unet`` at ``resolution`` pixels (``cpu_precision``).

    fp16 comes first because the published code runs in it. Raises ``DeviceError`` for an unknown name, and
    ``OutOfMemoryError``: a device without room is not one without half precision.
    """
    if name != "auto":
        if name not in PRECISIONS:
            raise DeviceError(f"'{name}' is no precision.", remedy=f"Use auto, {', '.join(PRECISIONS)}.")
        return PRECISIONS[name]
    if device.type != "cpu":
        for dtype in (torch.float16, torch.bfloat16):
            if works_on(device, dtype):
                return dtype
    elif unet is not None and resolution is not None and works_on(device, torch.bfloat16):
        return cpu_precision(unet, resolution)
    return torch.float32


def common_precision(
    name: str, devices: Sequence[torch.device], unet: Path | None = None, resolution: int | None = None
) -> torch.dtype:
    """What ``choose_precision`` chooses for all ``devices``; fp32 where it would choose differently."""
    first, *others = {choose_precision(name, device, unet, resolution) for device in dict.fromkeys(devices)}
    return torch.float32 if others else first


def works_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``device`` computes in a half precision, and well enough. Raises ``OutOfMemoryError``."""
    task = f"a small test of the precisions of {device}"
    return with_memory_freed(lambda: probe_error(device, dtype), task) < PROBE_TOLERANCE[dtype]


@torch.inference_mode()
def probe_error(device: torch.device, dtype: torch.dtype) -> float:
    """Relative L2 error of a small convolution, group norm, upsampling and attention in ``dtype`` against fp32.

    Infinity if the device does not support the dtype or the result is not finite.
    """
    functional = torch.nn.functional
    source = torch.Generator().manual_seed(0)
    image = torch.randn(1, 32, 16, 16, generator=source)
    kernel = torch.randn(32, 32, 3, 3, generator=source) / 288**0.5

    def run(kind: torch.dtype, where: torch.device) -> torch.Tensor:
        x = functional.conv2d(image.to(where, kind), kernel.to(where, kind), padding=1)
        x = functional.interpolate(functional.silu(functional.group_norm(x, 8)), scale_factor=2.0, mode="nearest")
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens).float().cpu()

    reference = run(torch.float32, torch.device("cpu"))
    try:
        result = run(dtype, device)
    except RuntimeError as missing:  # there is no kernel for this dtype: that is what the probe is to find out
        if is_out_of_memory(missing):
            raise
        return float("inf")
    error = (result - reference).norm() / reference.norm()
    return float(error) if bool(torch.isfinite(error)) else float("inf")


def has_fused_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``device`` has a kernel for attention that does not keep the scores of all pairs of tokens."""
    if device.type == "cpu":
        return True
    if device.type not in ("cuda", "xpu"):  # MPS has one for few queries only
        return False
    tokens = torch.empty(1, 8, 64, WIDEST_HEAD, device=device, dtype=dtype)
    return torch._fused_sdp_choice(tokens, tokens, tokens) != int(SDPBackend.MATH.value)


def measure_speed(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Floating-point operations per second of a matrix product, the best of a few; takes about a tenth of a second.

    Raises ``OutOfMemoryError``.
    """
    return with_memory_freed(lambda: _measure_speed(device, dtype, side), f"a small test of the speed of {device}")


def _measure_speed(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Small products come first, and no larger ones after some that take long: on some CPUs half precision is a hundred
    times slower than single. What takes long is told by the processor's time, since on a busy machine a small product
    waits for its turn a thousand times as long as it is worked on. An accelerator is quick only with large products,
    and without a wait after each.
    """
    sizes = [(side // 16, 1), (side // 8, 1), (side // 4, 1), (side // 2, 1), *[(side, 1)] * 4]
    if device.type != "cpu":
        sizes += [(2 * side, 4), (4 * side, 4), (4 * side, 16)]
    start = time.perf_counter()
    best = at_work = 0.0  # operations per second of the clock, and of work
    for n, products in sizes:
        operations = products * 2 * n**3
        if n > side // 8 and operations / at_work > LONG_PRODUCT:  # the very first product also starts the libraries
            break
        if device.type == "cpu" and n == side and time.perf_counter() - start > LONG_TEST:
            break
        seconds, worked = _time_products(n, products, device, dtype)
        best, at_work = max(best, operations / seconds), max(at_work, operations / worked)
    return best


def _time_products(n: int, products: int, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds that products of two (n, n) matrices take one after another, and those of the processor's work in this
    thread; of an accelerator, whose work takes none of them, the former twice."""
    a = torch.randn(n, n, device=device).to(dtype)
    result = torch.empty_like(a)
    start, work = time.perf_counter(), time.thread_time()
    for _ in range(products):
        torch.matmul(a, a, out=result)
    result.sum().item()
    seconds, worked = time.perf_counter() - start, time.thread_time() - work
    return seconds, max(worked, 1e-6) if device.type == "cpu" else seconds


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

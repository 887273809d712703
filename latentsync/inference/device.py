"""The precision that works on a device, and its speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend

from latentsync.errors import DeviceError
from latentsync.runtime.memory import is_out_of_memory, with_memory_freed

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PROBE_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 4e-2}  # relative L2 error: 5 times the usual one
WIDEST_HEAD = 160  # channels of an attention head of the published U-Net, at most
LONG_PRODUCT = 0.3  # s; matrix products that would take longer are not tried


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
        from latentsync.inference.cpu_precision import cpu_precision  # here: it imports the networks

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
    times slower than single. An accelerator is quick only with large products, and without a wait after each.
    """
    sizes = [(side // 16, 1), (side // 8, 1), (side // 4, 1), (side // 2, 1), *[(side, 1)] * 4]
    if device.type != "cpu":
        sizes += [(2 * side, 4), (4 * side, 4), (4 * side, 16)]
    best = 0.0
    for n, products in sizes:
        operations = products * 2 * n**3
        if n > side // 8 and operations / best > LONG_PRODUCT:  # the very first product also starts the libraries
            break
        best = max(best, operations / _time_products(n, products, device, dtype))
    return best


def _time_products(n: int, products: int, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds that products of two (n, n) matrices take one after another."""
    a = torch.randn(n, n, device=device).to(dtype)
    result = torch.empty_like(a)
    start = time.perf_counter()
    for _ in range(products):
        torch.matmul(a, a, out=result)
    result.sum().item()
    return time.perf_counter() - start

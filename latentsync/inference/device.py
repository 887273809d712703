"""The device of a run, the precision that works on it, and its speed."""

from __future__ import annotations

import time

import torch

from latentsync.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PROBE_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 4e-2}  # relative L2 error: 5 times the usual one
LONG_PRODUCT = 0.1  # s; no larger matrix product is tried after one that takes longer


def choose_device(name: str = "auto") -> torch.device:
    """'auto' is CUDA (also ROCm), then MPS, then XPU, then the CPU; any other name is a torch device string.

    Raises ``DeviceError`` if there is no such device.
    """
    if name == "auto":
        for kind in ("cuda", "mps", "xpu"):
            if _is_available(kind):
                return torch.device(kind)
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"'{name}' is no device.", remedy="Use auto, cpu, cuda, cuda:1, mps or xpu.") from error
    if not _is_available(device.type):
        raise DeviceError(
            f"The device '{name}' is not available to this build of torch {torch.__version__}.",
            remedy="Use --device auto, or install the torch build for your hardware.",
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise DeviceError(f"There is no '{name}': {count} such device(s) found.", remedy="Count from 0.")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """'auto' is the first of fp16, bf16, fp32 that passes a numeric probe on ``device``; on a CPU always fp32.

    fp16 comes first because the published code runs in it. Raises ``DeviceError`` for an unknown name.
    """
    if name != "auto":
        if name not in PRECISIONS:
            raise DeviceError(f"'{name}' is no precision.", remedy=f"Use auto, {', '.join(PRECISIONS)}.")
        return PRECISIONS[name]
    if device.type != "cpu":
        for dtype in (torch.float16, torch.bfloat16):
            if probe_error(device, dtype) < PROBE_TOLERANCE[dtype]:
                return dtype
    return torch.float32


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
    except RuntimeError:  # there is no kernel for this dtype: that is what the probe is to find out
        return float("inf")
    error = (result - reference).norm() / reference.norm()
    return float(error) if bool(torch.isfinite(error)) else float("inf")


def measure_speed(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Floating-point operations per second of a matrix product, the best of a few; takes about a tenth of a second.

    Small products come first, and no larger one after one that takes long: on some CPUs half precision is a hundred
    times slower than single.
    """
    best = 0.0
    for n in (side // 16, side // 8, side // 4, side // 2, *[side] * 4):
        a = torch.randn(n, n, device=device).to(dtype)
        start = time.perf_counter()
        (a @ a).sum().item()
        seconds = time.perf_counter() - start
        best = max(best, 2 * n**3 / seconds)
        if n > side // 16 and seconds > LONG_PRODUCT:  # the very first product also starts the libraries
            break
    return best


def _is_available(kind: str) -> bool:
    if kind == "cpu":
        return True
    backend = getattr(torch, kind, None) if kind != "mps" else torch.backends.mps
    return backend is not None and backend.is_available()

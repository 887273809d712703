"""What the networks of a training compute in: the trained one under autocast or in shards, the frozen ones as they are.

All of them in the same precision. In bfloat16 and float32 no factor stands before the loss, so a frozen network in
float16 would round the gradients that pass through it to zero.
"""

from __future__ import annotations

import logging
from typing import Protocol

import torch

from latentsync.runtime.device import cpu_has_bf16

logger = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by accelerate's names
WITHOUT_HALF = ("cpu",)  # devices where float16 takes a hundred times as long as float32


class PrecisionSection(Protocol):
    """What a training file says of it, under ``run``."""

    mixed_precision_training: bool
    mixed_precision: str


def asked_precision(run: PrecisionSection) -> str:
    """fp16, bf16 or no."""
    return run.mixed_precision if run.mixed_precision_training else "no"


def precision_on(device_type: str, asked: str) -> str:
    """``asked`` (fp16, bf16 or no) as far as a training on such a device heeds it: a CPU knows bfloat16 or float32."""
    if device_type not in WITHOUT_HALF:
        return asked
    return asked if asked == "bf16" and cpu_has_bf16() else "no"


def set_tf32(device: torch.device, asked: bool) -> None:
    """Products and convolutions of float32 on ``device``: with inputs rounded to the 11 bits of TF32, as float16 has
    them, in a range like that of float32; or exact. For the whole process, where the GPU knows TF32 (NVIDIA's compute
    capability 8.0); elsewhere nothing happens."""
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return
    torch.set_float32_matmul_precision("high" if asked else "highest")
    torch.backends.cudnn.allow_tf32 = asked
    logger.info("Products of float32 are %s on this GPU (run.tf32).", "rounded to TF32" if asked else "exact")


def training_dtype(run: PrecisionSection, device: torch.device) -> torch.dtype:
    """The precision of a training on ``device``."""
    return DTYPES[precision_on(device.type, asked_precision(run))]

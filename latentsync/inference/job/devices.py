"""On what a dub computes, and how exactly: checked before a network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import ModelSettings
from latentsync.runtime.device import choose_devices, unusable_gpu

if TYPE_CHECKING:
    import torch


def usable_devices(request: DubRequest) -> tuple[tuple[torch.device, ...], list[str]]:
    """The devices of the run, of one kind, and notes on those that could have been better."""
    from latentsync.runtime.compilation import require_compiler

    devices = choose_devices(request.device)
    if request.compiled:
        require_compiler(devices[0].type)
    if request.device == "auto" and devices[0].type == "cpu" and (fault := unusable_gpu()) is not None:
        slow = "the CPU computes instead, which takes many times as long"
        return devices, [f"{fault.message}; {slow}; {fault.remedy}"]
    return devices, []


def precision_of(
    request: DubRequest, options: SyncOptions, devices: Sequence[torch.device], settings: ModelSettings
) -> tuple[torch.dtype, list[str]]:
    """What the networks compute in, and a note where 'auto' is no float32 on a processor. A run that is resumed goes on
    as it began; a release that is reproduced is computed in float32."""
    import torch

    from latentsync.inference.kept_latents import read_journal
    from latentsync.inference.precision import common_precision

    dtype, choosing = None, request.precision == "auto" and devices[0].type == "cpu"
    if choosing and request.resume:
        began = (read_journal(request.kept_folder) or {}).get("device", [])
        dtype = next((each for each in (torch.float32, torch.bfloat16) if str(each) in began), None)
    if dtype is None or options.compat is not None:
        unet = request.weights.unet if options.compat is None else None
        dtype = common_precision(request.precision, devices, unet, settings.resolution)
    if choosing and dtype is torch.bfloat16:
        return dtype, ["bfloat16, which this processor computes quicker; --precision fp32 is exact"]
    return dtype, []

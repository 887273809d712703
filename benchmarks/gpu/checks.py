"""What this device is, whether it computes the same as a CPU, and how much memory it takes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import numpy as np
import torch

from benchmarks.gpu.networks import drawn_models, settle, short, side_of, timed, unet_inputs, windows_of
from benchmarks.gpu.session import Context, Row
from benchmarks.networks import load_networks
from latentsync.diffusion.schedule import SCHEDULERS
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import OutOfMemoryError
from latentsync.face.mask import load_mask
from latentsync.inference.batching import AdaptiveBatch
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.inference.precision import choose_precision, measure_speed, probe_error
from latentsync.runtime.memory import GIB, is_out_of_memory, release_memory
from latentsync.types import Window

MIB = 2**20
HALVES = (torch.float16, torch.bfloat16)
ALL = (torch.float32, *HALVES)
CONTEXT_BYTES = 0.6 * GIB  # what CUDA itself takes of a card
LOUDEST = 2.0  # range of pixels in [-1, 1], for the PSNR


def probes(context: Context) -> Iterator[Row]:
    """Versions, the device, and what the product's own probes say of it."""
    device = context.device
    row: Row = {name: metadata.version(name) for name in ("torch", "diffusers", "numpy", "av")}
    row |= {"python": platform.python_version(), "cuda": torch.version.cuda, "hip": torch.version.hip}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        row |= {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gib": properties.total_memory / GIB,
            "cudnn": torch.backends.cudnn.version(),
            "built_for": " ".join(torch.cuda.get_arch_list()),
        }
    row["precision"] = short(choose_precision("auto", device))
    for dtype in context.pick(HALVES, ()):
        row[f"error_{short(dtype)}"] = probe_error(device, dtype)
        row[f"tflops_{short(dtype)}"] = measure_speed(device, dtype) / 1e12
    yield row
    amount = context.pick(256 * MIB, MIB)
    pageable = torch.empty(amount, dtype=torch.uint8)
    sources = {"pageable": pageable} | ({"pinned": pageable.pin_memory()} if device.type == "cuda" else {})
    for name, source in sources.items():
        milliseconds, _ = timed(device, lambda source=source: source.to(device, non_blocking=True), rounds=3)
        yield {"copy": name, "gb_per_s": amount / 1e6 / max(milliseconds, 1e-6)}


def correctness(context: Context) -> Iterator[Row]:
    """Latents and images of whole sampling runs against the CPU in single precision."""
    windows = 4
    for model in context.pick(("builtin", "tiny"), ("tiny",)):
        reference = load_networks(model, torch.device("cpu"), torch.float32)
        own = {dtype: load_networks(model, context.device, dtype).models for dtype in context.pick(ALL, ALL[:1])}
        side = reference.settings.resolution
        inputs = windows_of(reference.models, windows, side, context.pick(16, 2))
        for scheduler in context.pick(SCHEDULERS, SCHEDULERS[:2]):
            for interval in (1, 2):
                guidance = 1.0 if scheduler == "consistency" else 1.5  # a student has it inside
                settings = SamplerSettings(scheduler, context.pick(6, 2), guidance, interval)
                wanted = _generated(reference.models, inputs, settings, side)
                for dtype, models in own.items():
                    for batch in (1, windows):
                        found = _generated(models, inputs, settings, side, batch)
                        circumstances = {"model": model, "precision": short(dtype), "scheduler": scheduler}
                        yield circumstances | {"step_cache": interval, "batch": batch, **_likeness(found, wanted)}
    if not context.smoke:
        yield from _published_size(context)


def _generated(
    models: LatentModels, windows: list[Window], settings: SamplerSettings, side: int, batch: int | None = None
) -> np.ndarray:
    generator = LatentGenerator(models, load_mask("mask", side), settings, seed=1)
    step = batch or len(windows)
    return np.concatenate([generator(windows[first : first + step]) for first in range(0, len(windows), step)])


def _likeness(found: np.ndarray, wanted: np.ndarray) -> Row:
    error = float(np.sqrt(((found - wanted) ** 2).mean()))
    return {
        "psnr": 20 * float(np.log10(LOUDEST / error)) if error else None,
        "relative_error": error / float(np.sqrt((wanted**2).mean())),
        "finite": bool(np.isfinite(found).all()),
    }


def _published_size(context: Context) -> Iterator[Row]:
    """One evaluation of the U-Net of 1.5 at a quarter of its side."""
    models = load_networks("1.5", torch.device("cpu"), torch.float32).models
    inputs = unet_inputs(models, 1, 64)

    def evaluated() -> np.ndarray:
        with torch.inference_mode():
            sample, timestep, audio = inputs
            like = {"device": models.device, "dtype": models.dtype}
            return models.unet(sample.to(**like), timestep.to(models.device), audio.to(**like)).float().cpu().numpy()

    wanted = evaluated()
    models.device = context.device
    for dtype in ALL:
        models.dtype = dtype
        models.unet.to(context.device, dtype)
        yield {"model": "1.5, one evaluation", "precision": short(dtype), **_likeness(evaluated(), wanted)}


def peak_memory(context: Context) -> Iterator[Row]:
    """The most that one denoising step of so many windows takes, with encoding and decoding."""
    settings = SamplerSettings(steps=1)
    for model, counts in (("1.5", (1, 2, 4, 8, 16)), ("1.6", (1, 2, 4, 8))):
        models = drawn_models(context, model, context.pick(torch.float16, torch.float32))
        side = side_of(context, model)
        weights = sum(p.nbytes for network in (models.unet, models.codec) for p in network.parameters())
        for count in context.pick(counts, (1, 2)):
            release_memory()
            row: Row = {"model": model, "windows": count, "weights_mib": weights / MIB}
            generator = LatentGenerator(models, load_mask("mask", side), settings, seed=1)
            try:
                with CudaPeak(context.device) as peak:
                    generator(windows_of(models, count, side, context.pick(16, 2)))
                yield row | {"allocated_mib": peak.allocated, "reserved_mib": peak.reserved}
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                yield row | {"allocated_mib": None, "reserved_mib": None}


class CudaPeak:
    """The most that torch allocated and reserved on a CUDA device inside the block, MiB; None elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.allocated: float | None = None
        self.reserved: float | None = None

    def __enter__(self) -> CudaPeak:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            settle(self._device)
            self.allocated = torch.cuda.max_memory_allocated(self._device) / MIB
            self.reserved = torch.cuda.max_memory_reserved(self._device) / MIB


def small_cards(context: Context) -> Iterator[Row]:
    """Cards of 6.5 to 16 GiB, emulated: whether the batch is halved until it fits, whether anything is left behind
    afterwards, and whether the networks fit in single precision as well, as a retry needs them."""
    for gib in context.pick((6.5, 8, 12, 16), (6.5, 16)):
        for model in context.pick(("1.5", "1.6"), ("1.5",)):
            with card_of(context.device, gib):
                yield {"card_gib": gib, "model": model, **_on_small_card(context, gib, model)}
            release_memory()


@contextmanager
def card_of(device: torch.device, gib: float) -> Iterator[None]:
    """Inside the block torch takes no more of a CUDA device than a card of ``gib`` would give it."""
    if device.type != "cuda":
        yield
        return
    share = (gib * GIB - CONTEXT_BYTES) / torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _on_small_card(context: Context, gib: float, model: str) -> Row:
    device, most = context.device, context.pick(8, 4)
    try:
        models = drawn_models(context, model, context.pick(torch.float16, torch.float32))
        side, frames = side_of(context, model), context.pick(16, 2)
        generator = LatentGenerator(models, load_mask("mask", side), SamplerSettings(steps=1), seed=1)
        batch = AdaptiveBatch(generator if device.type == "cuda" else _Cramped(generator, int(gib) // 4), most)
        batch(windows_of(models, most, side, frames))
        models.memory.clear()
        release_memory()
        held = _held(device)
        batch(windows_of(models, batch.limit, side, frames, first=most))
        models.memory.clear()
        release_memory()
        row = {"windows": batch.limit, "did_not_fit": batch.reductions, "left_mib": (_held(device) - held) / MIB}
    except OutOfMemoryError as error:
        return {"windows": 0, "error": error.message}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"windows": 0, "error": "the networks do not fit"}
    return row | {"retry": _in_single_precision(models, generator, windows_of(models, 1, side, frames, first=99))}


def _in_single_precision(models: LatentModels, generator: LatentGenerator, windows: list[Window]) -> str:
    try:
        models.unet.float()
        models.codec.float()
        models.dtype = torch.float32
        generator(windows)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "does not fit"
    return "fits"


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


class _Cramped:
    """Where no card can be emulated: runs out of memory with more than ``most`` windows."""

    def __init__(self, generator: LatentGenerator, most: int) -> None:
        self.resolution = generator.resolution
        self._generator, self._most = generator, most

    def __call__(self, windows: list[Window]) -> np.ndarray:
        if len(windows) > self._most:
            raise torch.OutOfMemoryError("out of memory")
        return self._generator(windows)

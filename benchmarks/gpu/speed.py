"""How long an evaluation takes, how long launching it does, and what compiling, graphs and other kernels change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.networks import drawn_models, settle, side_of, timed, unet_inputs, windows_of
from benchmarks.gpu.session import Context, Row
from latentsync.constants import MODEL_FPS
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.mask import load_mask
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.inference.options import PRESETS
from latentsync.runtime.graphs import GraphedDenoiser

STUDENT = "student of 2 steps"
GUIDED = 2  # windows of an evaluation for each window that is generated


def passes(context: Context) -> Iterator[Row]:
    """One guided evaluation by batch, memory layout and cuDNN's choice of kernels."""
    before = torch.backends.cudnn.benchmark
    layouts = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
    for model, counts in (("1.5", (1, 4, 8)), ("1.6", (1, 4))):
        models = drawn_models(context, model, context.pick(torch.float16, torch.float32))
        for layout, memory_format in layouts.items():
            models.unet.to(memory_format=memory_format)
            for race in (False, True):
                torch.backends.cudnn.benchmark = race
                for count in context.pick(counts, (1,)):
                    inputs = unet_inputs(models, GUIDED * count, side_of(context, model), context.pick(16, 2))
                    with torch.inference_mode():
                        whole, launching = timed(
                            context.device, lambda m=models, i=inputs: m.unet(*i), context.pick(5, 1)
                        )
                    row: Row = {"model": model, "windows": count, "layout": layout, "cudnn_benchmark": race}
                    yield row | {"pass_ms": whole, "launch_ms": launching}
    torch.backends.cudnn.benchmark = before


def few_steps(context: Context) -> Iterator[Row]:
    """The generator with four windows by preset and with a student of two steps: seconds per second of video, and what
    they should be at most. A guided step beside its halves as two windows says what is saved by sharing."""
    wanted = {("1.5", "exact"): 0.7, ("1.6", "exact"): 3.0, ("1.6", STUDENT): 1.0}
    student = SamplerSettings("consistency", steps=2, guidance_scale=1.0, timesteps=(999, 499))
    ways = {name: PRESETS[name] for name in ("exact", "fast", "live")} | {STUDENT: student}
    frames, count = context.pick(16, 2), context.pick(4, 1)
    for model in context.pick(("1.5", "1.6"), ("tiny",)):
        models = drawn_models(context, model, context.pick(torch.float16, torch.float32))
        side = side_of(context, model)
        apart, shared = _guided_steps(context, models, count, side)
        for way, settings in ways.items():
            generator = LatentGenerator(models, load_mask("mask", side), settings, seed=1)
            with torch.inference_mode():
                batch = generator.prepare(windows_of(models, count, side, frames))
                rounds = context.pick(2, 1)
                whole, _ = timed(context.device, lambda g=generator, b=batch: g.launch(b), rounds, warm_ups=1)
            seconds = whole / 1000 / (count * frames / float(MODEL_FPS))
            row: Row = {"model": model, "way": way, "seconds_per_second": seconds, "at_most": wanted.get((model, way))}
            yield row | {"guided_ms": shared, "halves_apart_ms": apart}


def _guided_steps(context: Context, models: LatentModels, windows: int, side: int) -> tuple[float, float]:
    """Milliseconds of a guided step: its two halves as twice as many windows, and as the product computes it."""
    sample, level, audio = unet_inputs(models, windows, side, context.pick(16, 2))
    doubled = torch.cat([sample] * GUIDED), level, torch.cat([torch.zeros_like(audio), audio])
    rounds = context.pick(3, 1)
    with torch.inference_mode():
        apart, _ = timed(context.device, lambda: models.unet(*doubled), rounds)
        shared, _ = timed(context.device, lambda: models.unet(sample, level, audio, guided=True), rounds)
    return apart, shared


def attention(context: Context) -> Iterator[Row]:
    """The kernels of attention for the U-Net's heads: 40, 80 and 160 values wide, over a feature map's cells, and over
    the frames of a window."""
    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "math": SDPBackend.MATH,
    }
    shapes = ((4096, 40, 128), (1024, 40, 128), (1024, 80, 128), (256, 160, 128), (16, 40, 16384))
    for cells, width, sequences in context.pick(shapes, ((16, 40, 2), (16, 160, 2))):
        dtype = context.pick(torch.float16, torch.float32)
        query = torch.randn(sequences, 8, cells, width, device=context.device, dtype=dtype)
        row: Row = {"cells": cells, "head": width, "sequences": sequences}
        for name, backend in backends.items():
            row[f"{name}_ms"] = _attention_time(context, query, backend)
        yield row


def _attention_time(context: Context, query: torch.Tensor, backend: SDPBackend) -> float | None:
    """Milliseconds; None where there is no such kernel for these heads."""
    attend = torch.nn.functional.scaled_dot_product_attention
    try:
        with sdpa_kernel(backend), torch.inference_mode():
            whole, _ = timed(context.device, lambda: attend(query, query, query), context.pick(5, 1), warm_ups=1)
    except RuntimeError:  # "no available kernel", or too little memory for all weights at once
        return None
    return whole


def compiled(context: Context) -> Iterator[Row]:
    """A whole sampling run by way of computing the U-Net, and how many shapes that way met."""
    for model in context.pick(("tiny", "1.5"), ("tiny",)):
        for way, prepare in _ways(context).items():
            models = drawn_models(context, model, context.pick(torch.float16, torch.float32))
            prepare(models)
            settings = SamplerSettings("dpm++", steps=context.pick(10, 2), cache_interval=context.pick(2, 1))
            side = side_of(context, model)
            generator = LatentGenerator(models, load_mask("mask", side), settings, seed=1)
            windows = windows_of(models, context.pick(4, 1), side, context.pick(16, 2))
            start = time.perf_counter()
            generator(windows)
            first = time.perf_counter() - start
            with torch.inference_mode():
                batch = generator.prepare(windows)
                whole, launching = timed(context.device, lambda g=generator, b=batch: g.launch(b), 3, warm_ups=0)
            row: Row = {"model": model, "way": way, "first_s": first, "batch_ms": whole, "launch_ms": launching}
            yield row | {"graphs": models.graphs.shapes if models.graphs is not None else None}
            torch.compiler.reset()
            settle(context.device)


def _ways(context: Context) -> dict[str, Callable[[LatentModels], None]]:
    def as_it_is(models: LatentModels) -> None:
        pass

    def with_graphs(models: LatentModels) -> None:
        models.graphs = GraphedDenoiser(models.unet)

    def by_torch_compile(models: LatentModels) -> None:
        models.unet.compile(dynamic=False, backend=context.pick("inductor", "eager"))

    def by_both(models: LatentModels) -> None:
        by_torch_compile(models)
        with_graphs(models)

    ways = {"as it is": as_it_is, "torch.compile": by_torch_compile}
    on_cuda = {"graphs": with_graphs, "torch.compile and graphs": by_both}
    return ways | on_cuda if context.device.type == "cuda" else ways

"""Whether the device ever waits: work of the launching thread, whole dubs, the detector beside the generator."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.dub_inputs import draw_input
from benchmarks.generator_parts import watch_device
from benchmarks.gpu.networks import drawn_models, drawn_networks, drawn_on, side_of, windows_of
from benchmarks.gpu.session import Context, Row
from benchmarks.inference_speed import Bench
from benchmarks.networks import BUILTIN, load_networks
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.align import image_key
from latentsync.face.backends.face_alignment import FaceAlignmentDetector, S3FDBoxes
from latentsync.face.mask import load_mask
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.inference.options import PRESETS
from latentsync.inference.output_guard import OutputGuard
from latentsync.runtime.side_network import SideNetwork
from latentsync.types import ArrayFrame

ROUNDS = 3


def host_work(context: Context) -> Iterator[Row]:
    """Seconds of the host for a batch of four windows, with networks that do nothing: of the launching thread, and of
    those beside it."""
    for side in context.pick((256, 512), (64,)):
        models = _idle_models(context)
        mask = load_mask("mask", side)
        generator = LatentGenerator(models, mask, SamplerSettings(), seed=1)
        guard = OutputGuard(mask)
        taken: dict[str, list[float]] = {"digests": [], "prepare": [], "launch": [], "fetch": [], "check": []}
        for number in range(ROUNDS):
            windows = windows_of(models, 4, side, context.pick(16, 2), first=4 * number)
            clock = _Stopwatch(taken)
            keys = [tuple(map(image_key, window.faces)) for window in windows]  # by the threads that align
            clock.lap("digests")
            for window, made in zip(windows, keys, strict=True):
                object.__setattr__(window, "face_keys", made)
            clock.lap(None)
            batch = generator.prepare(windows)
            clock.lap("prepare")
            launched = generator.launch(batch)
            clock.lap("launch")
            arrays = launched.faces.wait()
            clock.lap("fetch")
            for made, window in zip(arrays, windows, strict=True):
                guard.fault(made, window.faces)
            clock.lap("check")
        yield {"side": side, "windows": 4} | {f"{part}_s": min(seconds) for part, seconds in taken.items()}


class _Stopwatch:
    def __init__(self, taken: dict[str, list[float]]) -> None:
        self._taken, self._last = taken, time.perf_counter()

    def lap(self, part: str | None) -> None:
        """The time since the last lap belongs to ``part``."""
        now = time.perf_counter()
        if part is not None:
            self._taken[part].append(now - self._last)
        self._last = now


def _idle_models(context: Context) -> LatentModels:
    """Networks whose answers are there before they are asked for."""

    def evaluated(
        sample: Tensor, timestep: Tensor, audio: Tensor, *, feature_cache: Any = None, guided: bool = False
    ) -> Tensor:
        return sample[:, :4].repeat(1 + guided, 1, 1, 1, 1)

    def encoded(pixels: Tensor, draws: Tensor | None = None) -> Tensor:
        return pixels.new_empty(len(pixels), 4, pixels.shape[2] // 8, pixels.shape[3] // 8)

    def decoded(latents: Tensor) -> Tensor:
        return latents.new_empty(len(latents), 3, latents.shape[2] * 8, latents.shape[3] * 8)

    evaluated.config = SimpleNamespace(out_channels=4, cross_attention_dim=384)  # type: ignore[attr-defined]
    codec = SimpleNamespace(encode=encoded, decode=decoded)
    return LatentModels(evaluated, codec, context.device, context.pick(torch.float16, torch.float32))  # type: ignore[arg-type]


def pipeline(context: Context) -> Iterator[Row]:
    """Whole dubs from file to file, with one and with two batches in flight, and the share of the time in which no
    kernel ran."""
    device = context.device
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dub_input = draw_input(folder, context.pick(10.24, 0.64), context.pick((1280, 720), (160, 120)), Fraction(25))
        for model, preset, count in context.pick(
            ((BUILTIN, "builtin", 4), ("1.5", "balanced", 4), ("1.6", "fast", 4)), (("tiny", "preview", 1),)
        ):
            drawn = load_networks if model == BUILTIN else lambda *of: drawn_networks(context, of[0], dtype)
            networks = drawn(model, device, dtype)
            bench, dub = Bench(dub_input, networks, count, folder), networks.pipeline()
            bench.run(dub, PRESETS[preset], folder / "warm_up", excerpt=bench.one_batch)
            for in_flight in (1, 2):
                dub._in_flight = in_flight
                with watch_device(device) as idleness:
                    run = bench.run(dub, PRESETS[preset], folder / "mouths")
                row: Row = {"model": model, "preset": preset, "windows": count, "in_flight": in_flight}
                yield row | {
                    "seconds_per_second": run.figures(bench.fps)["seconds_per_second"],
                    "first_frame_s": run.first_frame,
                    "idle_share": idleness.share,
                }


def detector(context: Context) -> Iterator[Row]:
    """Detecting four frames: alone, and beside the generator with and without a stream of its own."""
    device = context.device
    models = drawn_models(context, "1.5", torch.float16 if device.type == "cuda" else torch.float32)
    side, frames = side_of(context, "1.5"), context.pick(16, 2)
    generator = LatentGenerator(models, load_mask("mask", side), SamplerSettings(steps=context.pick(10, 1)), seed=1)
    noise = np.random.default_rng(0).integers(0, 256, context.pick((360, 640, 3), (64, 64, 3)), np.uint8)
    seen = [ArrayFrame.of(noise)] * context.pick(4, 1)
    for own_stream in (True, False):
        found = _drawn_detector(device, own_stream)
        found.detect(seen)
        alone = _seconds_of(found, seen)
        stop, batches = threading.Event(), []

        def generate(stop: threading.Event = stop, batches: list = batches) -> None:
            while not stop.is_set():
                start = time.perf_counter()
                generator(windows_of(models, context.pick(4, 1), side, frames, first=len(batches)))
                batches.append(time.perf_counter() - start)

        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        beside = []
        while len(batches) < 2 or len(beside) < 2:
            beside.append(_seconds_of(found, seen))
            if not thread.is_alive():
                raise RuntimeError("the generator has ended")
        stop.set()
        thread.join()
        row: Row = {"own_stream": own_stream, "alone_ms": 1e3 * alone}
        yield row | {"beside_ms": 1e3 * sum(beside) / len(beside), "batch_s": sum(batches) / len(batches)}


def _seconds_of(found: FaceAlignmentDetector, frames: list[ArrayFrame]) -> float:
    start = time.perf_counter()
    found.detect(frames)
    return time.perf_counter() - start


class _OneBox(S3FDBoxes):
    """S3FD with drawn weights, which says that there is one face in every image."""

    def __init__(self, device: torch.device) -> None:
        from face_alignment.detection.sfd.net_s3fd import s3fd

        self._network = drawn_on(device, torch.float32, s3fd)
        self._mean = torch.zeros(1, 3, 1, 1, device=device)

    def maps(self, images: Tensor) -> list[Tensor]:
        return self._network(images.float().flip(1) - self._mean)

    def find(self, maps: list[np.ndarray]) -> list[list[np.ndarray]]:
        return [[np.array([10.0, 10, 50, 50, 0.99])] for _ in maps[0]]


def _drawn_detector(device: torch.device, own_stream: bool) -> FaceAlignmentDetector:
    from face_alignment.models import FAN

    beside = SideNetwork(device)
    if not own_stream and device.type == "cuda":
        beside._stream = torch.cuda.default_stream(device)
    return FaceAlignmentDetector(_OneBox(device), drawn_on(device, torch.float32, lambda: FAN(4)), beside, "drawn")

"""Samples per second of a training step, by stage: the plain step against the product's.

    python -m benchmarks.training_speed --output out/training_cpu.json
    python -m benchmarks.training_speed --full --device cuda --stages stage1,stage2 --output out/training_gpu.json

The plain step encodes its images anew and lets AdamW go through the parameters one by one; the product's takes the
latents from its cache and updates all parameters in one pass. Both get the same samples, and their steps (sample, loss,
backward, clipping, AdamW) take turns in one process, a round of all ways at a time, each round beginning with another
one; a gain is the median of the rounds' ratios, so that a machine that slows down changes none. ``cached`` is the
product's cache with the plain AdamW, ``compiled`` (only with ``--compile``) the product's step with ``run.compile``.
All keep or compute anew their activations as ``run.enable_gradient_checkpointing: auto`` finds right here. Processor
time counts all threads and leaves out what the machine did beside.

Codec and U-Net have the published shape with a quarter of the published widths and heads, at 128 pixels, so that both
cost 1/64 of theirs and keep their proportion and the width of a head; ``--full`` takes the published sizes. Rule
weights. Loss networks of stage 2: LPIPS's VGG at its own size; sync network and VideoMAE are small stand-ins.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from whisper.model import ModelDimensions

from benchmarks.networks import WHISPER_TINY, write_audio_encoder, write_codec
from benchmarks.report import PeakMemory, publish
from latentsync.checkpoint.codec import SD_VAE_CONFIG
from latentsync.config import load_config
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.unet_dataset import UNetDataset
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from latentsync.recipe import UNetRecipe
from latentsync.runtime.compilation import compile_in_place, require_compiler
from latentsync.runtime.memory import keep_freed_memory
from latentsync.training.loop.clips import find_clips
from latentsync.training.unet.data import cache_folder, prepare_windows
from latentsync.training.unet.memory import settle_checkpointing
from latentsync.training.unet.networks import (
    build_unet,
    load_frozen_codec,
    load_loss_networks,
    loss_config_of,
    make_objective,
)
from latentsync.training.unet.task import UNetSetup, UNetTask
from tests.golden import fill_by_rule
from tests.training.tiny_unet import VIDEOMAE, write_syncnet, write_vgg

CONFIGS = Path(__file__).parents[1] / "configs" / "unet"
STAGES = ("stage1", "stage2")
CLIPS = 4
CLIP_SETTINGS = [
    f"data.talkers.train_clips={CLIPS}", "data.talkers.validation_clips=1", "data.talkers.seconds=2.4",
    "ckpt.resume_ckpt_path=null",
]  # fmt: skip
QUARTER = [
    "data.resolution=128", "model.block_out_channels=[80,160,320,320]", "model.norm_num_groups=16",
    "model.attention_head_dim=2", "model.motion_module_kwargs.num_attention_heads=2",
]  # fmt: skip
TINY = [
    "data.resolution=128", "model.block_out_channels=[16,16,16,16]", "model.norm_num_groups=4", "data.num_frames=4",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """How a step is made: latents from the cache, AdamW in one pass, the U-Net by torch.compile."""

    cached: bool = False
    fused: bool = False
    compiled: bool = False


WAYS = {"plain": Way(), "cached": Way(cached=True), "product": Way(cached=True, fused=True)}
COMPILED = {"compiled": Way(cached=True, fused=True, compiled=True)}


def write_networks(folder: Path, size: str) -> list[str]:
    """Codec, audio encoder and loss networks as ``key=value`` of a U-Net configuration."""
    shrink = {"full": 1, "quarter": 4, "tiny": 16}[size]
    widths = [width // shrink for width in SD_VAE_CONFIG["block_out_channels"]]
    groups = SD_VAE_CONFIG["norm_num_groups"] // shrink
    codec = write_codec(folder / "vae", SD_VAE_CONFIG | {"block_out_channels": widths, "norm_num_groups": groups})
    dims = WHISPER_TINY if size == "full" else ModelDimensions(80, 1500, 384, 6, 4, 10, 8, 384, 6, 4)
    write_syncnet(folder)
    write_vgg(folder / "vgg.safetensors")
    save_file(fill_by_rule(VideoMAE(VideoMAEConfig(**VIDEOMAE))).state_dict(), folder / "videomae.safetensors")
    return [
        f"networks.codec={codec}",
        f"networks.audio_encoder={write_audio_encoder(folder / 'audio.pt', dims)}",
        f"data.syncnet_config_path={folder}/syncnet.yaml",
        f"networks.vgg={folder}/vgg.safetensors",
        f"networks.videomae={folder}/videomae.safetensors",
        *(f"networks.videomae_model.{key}={value}" for key, value in VIDEOMAE.items()),
    ]


class Run:
    """A training; ``fill_seconds`` is what opening the clips and making the cache took."""

    def __init__(self, config: Path, settings: list[str], accelerator: Accelerator, way: Way) -> None:
        recipe = load_config(config, UNetRecipe, [*settings, f"data.cache_latents={way.cached}"])
        losses, device = loss_config_of(recipe), accelerator.device
        clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
        codec = load_frozen_codec(recipe, device)
        start = time.perf_counter()
        windows = prepare_windows(recipe, clips, losses, codec, accelerator)
        self.fill_seconds = time.perf_counter() - start
        network = build_unet(recipe).to(device)
        if way.compiled:
            compile_in_place(network)
        objective = make_objective(recipe, losses, load_loss_networks(recipe, losses, codec, device), codec)
        self._task = UNetTask(UNetSetup(recipe, network, codec, objective, windows))
        self._trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        one_by_one = {"fused": False, "foreach": False}
        optimizer = torch.optim.AdamW(self._trained, lr=1e-5, **({"fused": True} if way.fused else one_by_one))
        self._network, self._optimizer = accelerator.prepare(network, optimizer)
        self._accelerator = accelerator
        self._recipe = recipe
        self.batch = recipe.data.batch_size
        self._done = 0

    def step(self) -> tuple[float, float]:
        """Seconds of one step, and of the processor."""
        device = self._accelerator.device
        start = time.perf_counter(), time.process_time()
        keys = [SampleKey(self._done, number % CLIPS) for number in range(self.batch)]
        batch = self._task.collate([self._task.dataset[key] for key in keys])
        loss, _ = self._task.loss(self._network, batch.to(device))
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._trained, self._recipe.optimizer.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        self._done += 1
        return time.perf_counter() - start[0], time.process_time() - start[1]


def take_turns(runs: dict[str, Run], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What ``Run.step`` gives, by way; every round begins with another one. A round before the first is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in runs}
    order = list(runs)
    for number in range(rounds + 1):
        for way in order:
            taken = runs[way].step()
            if number > 0:  # the first one warms up
                seconds[way].append(taken)
        order = [*order[1:], order[0]]
    return seconds


def gains(seconds: dict[str, list[tuple[float, float]]], clock: int) -> dict[str, float]:
    """How many times as fast as the plain way each other is: the median of the rounds' ratios on one clock."""
    return {
        way: statistics.median(plain[clock] / own[clock] for plain, own in zip(seconds["plain"], each, strict=True))
        for way, each in seconds.items()
        if way != "plain"
    }


def measure(
    stage: str, size: str, batch: int, steps: int, ways: dict[str, Way], accelerator: Accelerator, folder: Path
) -> dict:
    """One row."""
    smaller = {"full": [], "quarter": QUARTER, "tiny": TINY}[size]
    settings = [*write_networks(folder, size), *CLIP_SETTINGS, *smaller, f"data.batch_size={batch}"]
    settings.append(f"data.train_output_dir={folder / 'out'}")
    config = CONFIGS / f"{stage}.yaml"
    settled = settle_checkpointing(load_config(config, UNetRecipe, settings), accelerator.device)
    checkpointing = settled.run.enable_gradient_checkpointing  # the same for all
    settings.append(f"run.enable_gradient_checkpointing={checkpointing}")
    runs = {name: Run(config, settings, accelerator, way) for name, way in ways.items()}
    with PeakMemory() as memory:
        seconds = take_turns(runs, steps)
    clock, processor = (
        {way: batch / statistics.median(taken[kind] for taken in each) for way, each in seconds.items()}
        for kind in (0, 1)
    )
    return {
        "stage": stage,
        "batch": batch,
        "gradient_checkpointing": checkpointing,
        "samples_per_second": clock,
        "samples_per_processor_second": processor,
        "gains": gains(seconds, 0),
        "processor_gains": gains(seconds, 1),
        "fill_seconds_per_clip": (runs["cached"].fill_seconds - runs["plain"].fill_seconds) / (CLIPS + 1),
        **memory.figures(),  # of all together
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default=",".join(STAGES), help="some of %(default)s (all)")
    parser.add_argument("--size", choices=("tiny", "quarter"), default="quarter", help="of the networks (%(default)s)")
    parser.add_argument("--full", action="store_true", help="the published sizes; for a GPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), help="on CUDA (fp16, as published)")
    parser.add_argument("--compile", action="store_true", help="also a compiled step; translating takes minutes")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if options.compile:
        require_compiler(options.device)
    keep_freed_memory()  # as the training command
    on_cpu = options.device == "cpu"
    precision = options.precision or ("no" if on_cpu else "fp16")
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=precision)
    size = "full" if options.full else options.size
    ways = WAYS | (COMPILED if options.compile else {})
    rows = []
    for stage in options.stages.split(","):
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(stage, size, options.batch, options.steps, ways, accelerator, Path(name)))
    figures = {"size": size, "precision": precision, "steps": options.steps, "rows": rows}
    publish("training_speed", figures, str(accelerator.device), options.output)


if __name__ == "__main__":
    main()

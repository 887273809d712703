"""What the latent cache saves of a stage-1 step: python -m benchmarks.latent_cache

Codec and U-Net of the published shape with a quarter of the published widths, at 128 pixels, so that both cost 1/64 of
theirs and keep their proportion; rule weights. Steps (sample, loss, backward, AdamW) with and without the cache take
turns in one process. Prints one JSON line: samples per second of both, and seconds to fill the cache per clip.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from whisper.model import ModelDimensions

from latentsync.checkpoint.codec import SD_VAE_CONFIG
from latentsync.config import load_config
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.unet_dataset import UNetDataset
from latentsync.models.whisper import WhisperTaps
from latentsync.recipe import UNetRecipe
from latentsync.training.run_clips import find_clips
from latentsync.training.unet_data import cache_folder, prepare_windows
from latentsync.training.unet_networks import (
    JudgeNetworks,
    build_unet,
    judges_of,
    load_frozen_codec,
    make_objective,
)
from latentsync.training.unet_task import UNetTask
from tests.golden import fill_by_rule

STAGE_1 = Path(__file__).parents[1] / "configs" / "unet" / "stage1.yaml"
CLIPS = 4
SIZES = [
    "data.resolution=128", "model.block_out_channels=[80,160,320,320]", "model.norm_num_groups=16",
    f"data.talkers.train_clips={CLIPS}", "data.talkers.validation_clips=1", "data.talkers.seconds=2.4",
    "ckpt.resume_ckpt_path=null",
]  # fmt: skip


def write_networks(folder: Path) -> list[str]:
    """The codec with a quarter of its widths, and a small audio encoder, which costs a step nothing either way."""
    widths = [width // 4 for width in SD_VAE_CONFIG["block_out_channels"]]
    config = SD_VAE_CONFIG | {"block_out_channels": widths, "norm_num_groups": 8}
    fill_by_rule(AutoencoderKL.from_config(config)).save_pretrained(folder / "vae")
    dims = ModelDimensions(80, 1500, 384, 6, 4, 10, 8, 384, 6, 4)
    state = fill_by_rule(WhisperTaps(dims)).state_dict()
    torch.save({"dims": asdict(dims), "model_state_dict": state}, folder / "audio.pt")
    return [f"networks.codec={folder}/vae", f"networks.audio_encoder={folder}/audio.pt"]


class Run:
    """A training with or without the cache; ``fill_seconds`` is what making it took."""

    def __init__(self, folder: Path, networks: list[str], batch: int, cached: bool) -> None:
        overrides = [*networks, *SIZES, f"data.train_output_dir={folder}", f"data.cache_latents={cached}"]
        recipe = load_config(STAGE_1, UNetRecipe, [*overrides, f"data.batch_size={batch}"])
        accelerator = Accelerator(cpu=True)
        clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
        codec = load_frozen_codec(recipe, accelerator.device)
        judges = judges_of(recipe)
        start = time.perf_counter()
        windows = prepare_windows(recipe, clips, judges, codec, accelerator)
        self.fill_seconds = time.perf_counter() - start
        objective = make_objective(recipe, judges, JudgeNetworks(), codec)
        self._task = UNetTask(recipe, build_unet(recipe), codec, objective, windows, None)
        self._optimizer = torch.optim.AdamW(self._task.network.parameters(), lr=1e-5)
        self._batch = batch
        self._done = 0

    def step(self) -> float:
        """Seconds of one step."""
        start = time.perf_counter()
        keys = [SampleKey(self._done, number % CLIPS) for number in range(self._batch)]
        batch = self._task.collate([self._task.dataset[key] for key in keys])
        loss, _ = self._task.loss(self._task.network, batch)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._done += 1
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = write_networks(folder)
        plain, cached = (Run(folder, networks, arguments.batch, flag) for flag in (False, True))
        seconds = [(plain.step(), cached.step()) for _ in range(arguments.steps + 1)][1:]  # the first one warms up
    without, with_cache = (arguments.batch / statistics.median(column) for column in zip(*seconds, strict=True))
    print(
        json.dumps(
            {
                "benchmark": "latent_cache",
                "samples_per_second_without": round(without, 4),
                "samples_per_second_with": round(with_cache, 4),
                "gain": round(with_cache / without, 2),
                "fill_seconds_per_clip": round((cached.fill_seconds - plain.fill_seconds) / (CLIPS + 1), 2),
                "steps": arguments.steps,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()

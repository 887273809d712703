"""Does training start at full size? python -m benchmarks.full_size_training

Makes the codec of sd-vae-ft-mse and Whisper tiny with rule weights, draws two talkers, and trains a published
configuration as it is (from scratch, on one clip) for one step on the CPU: encoding, forward, backward, clipping and
AdamW. ``--command`` runs ``scripts.train_unet`` instead, with the validations and the checkpoint around the step, which
takes three times as long. Prints one JSON line: seconds, peak memory. ``--estimates`` prints, for every published
configuration, what a step takes on a GPU. Stage 1 at 256 pixels needs 15 GB of memory, and with ``--command`` of disk.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import peak_rss

ROOT = Path(__file__).parents[1]
CONFIGS = ("stage1", "stage1_512", "stage2", "stage2_512", "stage2_efficient")


def write_networks(folder: Path) -> list[str]:
    """Codec and audio encoder of full size, by the weight rule, as ``key=value`` of a U-Net configuration."""
    import torch
    from diffusers import AutoencoderKL
    from whisper.model import ModelDimensions

    from latentsync.checkpoint.codec import SD_VAE_CONFIG
    from latentsync.models.whisper import WhisperTaps
    from tests.golden import fill_by_rule

    fill_by_rule(AutoencoderKL.from_config(SD_VAE_CONFIG)).save_pretrained(folder / "vae")
    dims = ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)
    state = fill_by_rule(WhisperTaps(dims)).state_dict()
    torch.save({"dims": asdict(dims), "model_state_dict": state}, folder / "tiny.pt")
    return [f"networks.codec={folder}/vae", f"networks.audio_encoder={folder}/tiny.pt"]


def settings(folder: Path) -> list[str]:
    """What replaces values of the configuration."""
    return [
        *write_networks(folder), "ckpt.resume_ckpt_path=null", "run.max_train_steps=1", "data.num_val_samples=1",
        "data.num_workers=0", "run.inference_steps=1", "run.guidance_scale=1", f"data.train_output_dir={folder}/out",
        "data.talkers.train_clips=1", "data.talkers.validation_clips=1", "data.talkers.seconds=2.0",
    ]  # fmt: skip


def train_one_step(config: str, folder: Path) -> dict[str, float]:
    """The parts of ``training.unet.train_unet`` that a step needs."""
    import torch

    from latentsync.config import load_config
    from latentsync.data.clip_dataset import SampleKey
    from latentsync.data.unet_dataset import UNetDataset
    from latentsync.recipe import UNetRecipe
    from latentsync.training.loop.clips import find_clips
    from latentsync.training.loop.run import make_accelerator
    from latentsync.training.unet.data import cache_folder, prepare_windows
    from latentsync.training.unet.networks import (
        build_unet,
        load_frozen_codec,
        load_loss_networks,
        loss_config_of,
        make_objective,
    )
    from latentsync.training.unet.run import mixed_precision_of
    from latentsync.training.unet.task import UNetSetup, UNetTask

    recipe = load_config(ROOT / "configs" / "unet" / f"{config}.yaml", UNetRecipe, settings(folder))
    losses, accelerator = loss_config_of(recipe), make_accelerator(mixed_precision_of(recipe))
    network = build_unet(recipe)
    clips = find_clips(recipe.data, UNetDataset.min_frames(recipe.data.num_frames), cache_folder(recipe))
    codec = load_frozen_codec(recipe, accelerator.device)
    windows = prepare_windows(recipe, clips, losses, codec, accelerator)
    objective = make_objective(recipe, losses, load_loss_networks(recipe, losses, codec, accelerator.device), codec)
    task = UNetTask(UNetSetup(recipe, network, codec, objective, windows))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.optimizer.lr)
    start = time.perf_counter()
    loss, _ = task.loss(network, task.collate([task.dataset[SampleKey(0, 0)]]))
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, recipe.optimizer.max_grad_norm)
    optimizer.step()
    return {
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        "loss": loss.item(),
        "grad_norm": norm.item(),
        "seconds_per_step": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
        "peak_gb": round(peak_rss() / 1e9, 2),
    }


def run_command(config: str, folder: Path) -> dict[str, float]:
    """The training command in a process of its own; not on Windows, which keeps no account of those that have ended."""
    import resource

    command = [sys.executable, "-m", "scripts.train_unet", "--unet_config_path", f"configs/unet/{config}.yaml"]
    start = time.perf_counter()
    subprocess.run([*command, *settings(folder)], cwd=ROOT, check=True)
    seconds = time.perf_counter() - start
    with (folder / "out" / config / "train.csv").open() as file:
        (row,) = csv.DictReader(file)
    return {
        "loss": float(row["loss"]),
        "grad_norm": float(row["grad_norm"]),
        "seconds_per_step": round(float(row["seconds_per_step"]), 1),
        "seconds": round(seconds, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
    }


def print_estimates() -> None:
    from latentsync.config import load_config
    from latentsync.recipe import UNetRecipe
    from latentsync.training.unet.memory import GIB, estimate_dub, estimate_memory

    for config in CONFIGS:
        start = time.perf_counter()
        recipe = load_config(ROOT / "configs" / "unet" / f"{config}.yaml", UNetRecipe)
        estimate, dub = estimate_memory(recipe), estimate_dub(recipe)
        images = f"validation images {(dub.copy + dub.work) / GIB:.1f}"
        print(f"{config}: {estimate}; {images} [{time.perf_counter() - start:.0f} s to find out]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="stage1")
    parser.add_argument("--estimates", action="store_true", help="only say what each configuration takes on a GPU")
    parser.add_argument("--command", action="store_true", help="run the training command whole")
    arguments = parser.parse_args()
    if arguments.estimates:
        print_estimates()
        return
    with tempfile.TemporaryDirectory() as name:
        measure = run_command if arguments.command else train_one_step
        found = measure(arguments.config, Path(name))
    print(json.dumps({"benchmark": "full_size_training", "config": arguments.config} | found))


if __name__ == "__main__":
    main()

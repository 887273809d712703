"""Does training start at full size? python -m benchmarks.full_size_training

Makes the codec of sd-vae-ft-mse and Whisper tiny with rule weights, draws two talkers, and runs ``scripts.train_unet``
with a published configuration as it is (from scratch, on one clip) for one step on the CPU, with the validations and
the checkpoint around it. Prints one JSON line: seconds of the step and of everything, peak memory. ``--estimates``
prints, for every published configuration, what a step takes on a GPU. Stage 1 at 256 pixels needs 15 GB of memory and
15 GB of disk.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

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


def train_one_step(config: str, folder: Path) -> dict[str, float | str]:
    """Run the training command; its figures."""
    overrides = [
        *write_networks(folder), "ckpt.resume_ckpt_path=null", "run.max_train_steps=1", "data.num_val_samples=1",
        "data.num_workers=0", "run.inference_steps=1", "run.guidance_scale=1", f"data.train_output_dir={folder}/out",
        "data.talkers.train_clips=1", "data.talkers.validation_clips=1", "data.talkers.seconds=2.0",
    ]  # fmt: skip
    command = [sys.executable, "-m", "scripts.train_unet", "--unet_config_path", f"configs/unet/{config}.yaml"]
    start = time.perf_counter()
    subprocess.run([*command, *overrides], cwd=ROOT, check=True)
    seconds = time.perf_counter() - start
    with (folder / "out" / config / "train.csv").open() as file:
        (row,) = csv.DictReader(file)
    return {
        "config": config,
        "loss": float(row["loss"]),
        "grad_norm": float(row["grad_norm"]),
        "seconds_per_step": round(float(row["seconds_per_step"]), 1),
        "seconds": round(seconds, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
    }


def print_estimates() -> None:
    from latentsync.config import load_config
    from latentsync.recipe import UNetRecipe
    from latentsync.training.unet_memory import estimate_memory

    for config in CONFIGS:
        start = time.perf_counter()
        estimate = estimate_memory(load_config(ROOT / "configs" / "unet" / f"{config}.yaml", UNetRecipe))
        print(f"{config}: {estimate} [{time.perf_counter() - start:.0f} s to find out]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="stage1")
    parser.add_argument("--estimates", action="store_true", help="only say what each configuration takes on a GPU")
    arguments = parser.parse_args()
    if arguments.estimates:
        print_estimates()
        return
    with tempfile.TemporaryDirectory() as name:
        found = train_one_step(arguments.config, Path(name))
    print(json.dumps({"benchmark": "full_size_training"} | found))


if __name__ == "__main__":
    main()

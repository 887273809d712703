"""Train a network: read a configuration, say what it is, start. See docs/training.md.

    latentsync train unet --unet_config_path configs/unet/stage1.yaml data.train_data_dir=clips
    latentsync train unet --unet_config_path configs/unet/stage2_student.yaml student.teacher=unet.safetensors
    latentsync train syncnet --config_path configs/syncnet/syncnet_16_pixel_attn.yaml data.train_data_dir=clips

The same command goes on with a run that was stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from latentsync.config import dump_config, load_config
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.runtime.memory import keep_freed_memory
from latentsync.terminal import command_parser, report


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("train", __doc__)
    networks = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    overrides = argparse.ArgumentParser(add_help=False)
    overrides.add_argument("overrides", nargs="*", metavar="section.key=value", help="values that replace the file's")
    unet = networks.add_parser("unet", parents=[overrides], help="the network that generates")
    unet.add_argument("--unet_config_path", dest="config", required=True, help="a file such as those in configs/unet/")
    unet.add_argument("--estimate_memory", action="store_true", help="only say what a step takes on a GPU, and end")
    syncnet = networks.add_parser("syncnet", parents=[overrides], help="the network that hears whether a mouth fits")
    syncnet.add_argument("--config_path", dest="config", required=True, help="a file such as those in configs/syncnet/")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when the training is complete, 130 when it was stopped and can go on."""
    options = parse_arguments(arguments)
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    try:
        stopped, folder = _train_unet(options) if options.network == "unet" else _train_syncnet(options)
    except LatentSyncError as error:
        return report(error)
    if stopped:
        print(f"Stopped and saved. The same command goes on from there. Run: {folder}", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    if folder is not None:
        print(f"Complete. Weights: {folder}/weights, curves: {folder}/charts.png", file=sys.stderr)
    return 0


def _train_unet(options: argparse.Namespace) -> tuple[bool, Path | None]:
    """Whether it was stopped, and the folder of the run; None if nothing was to be trained."""
    recipe, name = load_config(options.config, UNetRecipe, options.overrides), Path(options.config).stem
    if options.estimate_memory:
        from latentsync.training.unet.memory import estimate_memory

        print(estimate_memory(recipe))
        return False, None
    from latentsync.training.loop.run import run_folder
    from latentsync.training.loop.trainer import TrainingResult
    from latentsync.training.student.run import train_student
    from latentsync.training.unet.run import train_unet

    logging.info("%s", dump_config(recipe))
    train = train_unet if recipe.student is None else train_student
    return train(recipe, name) is TrainingResult.STOPPED, run_folder(recipe, name)


def _train_syncnet(options: argparse.Namespace) -> tuple[bool, Path]:
    recipe, name = load_config(options.config, SyncNetRecipe, options.overrides), Path(options.config).stem
    from latentsync.training.loop.run import run_folder
    from latentsync.training.loop.trainer import TrainingResult
    from latentsync.training.syncnet.run import train_syncnet

    logging.info("%s", dump_config(recipe))
    return train_syncnet(recipe, name) is TrainingResult.STOPPED, run_folder(recipe, name)

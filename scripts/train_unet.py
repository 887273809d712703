"""Train the U-Net: read a configuration, say what it is, start. See docs/train_unet.md.

python -m scripts.train_unet --unet_config_path configs/unet/stage1.yaml data.train_data_dir=clips
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from latentsync.config import dump_config, load_config
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError, report
from latentsync.recipe import UNetRecipe
from latentsync.runtime.malloc import keep_freed_memory


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unet_config_path", required=True, help="a file such as those in configs/unet/")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="values that replace the file's")
    parser.add_argument("--estimate_memory", action="store_true", help="only say what a step takes on a GPU, and end")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when the training is complete, 130 when it was stopped and can go on."""
    options = parse_arguments(arguments)
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        recipe = load_config(options.unet_config_path, UNetRecipe, options.overrides)
        name = Path(options.unet_config_path).stem
        if options.estimate_memory:
            from latentsync.training.unet.memory import estimate_memory

            print(estimate_memory(recipe))
            return 0
        from latentsync.training.loop.run import run_folder
        from latentsync.training.loop.trainer import TrainingResult
        from latentsync.training.unet.run import train_unet

        logging.info("%s", dump_config(recipe))
        result = train_unet(recipe, name)
    except LatentSyncError as error:
        return report(error)
    folder = run_folder(recipe, name)
    if result is TrainingResult.STOPPED:
        print(f"Stopped and saved. The same command goes on from there. Run: {folder}", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    print(f"Complete. Weights: {folder}/weights, curves: {folder}/charts.png", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

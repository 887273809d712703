"""Train a sync network: read a configuration, say what it is, start. See docs/train_syncnet.md.

python -m scripts.train_syncnet --config_path configs/syncnet/syncnet_16_pixel_attn.yaml data.train_data_dir=clips
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from latentsync.config import dump_config, load_config
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError, report
from latentsync.recipe import SyncNetRecipe
from latentsync.runtime.malloc import keep_freed_memory


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_path", required=True, help="a file such as those in configs/syncnet/")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="values that replace the file's")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when the training is complete, 130 when it was stopped and can go on."""
    options = parse_arguments(arguments)
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    try:
        recipe = load_config(options.config_path, SyncNetRecipe, options.overrides)
        name = Path(options.config_path).stem
        from latentsync.training.loop.run import run_folder
        from latentsync.training.loop.trainer import TrainingResult
        from latentsync.training.syncnet.run import train_syncnet

        logging.info("%s", dump_config(recipe))
        result = train_syncnet(recipe, name)
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

"""Accuracy of a sync network on the validation clips of its configuration.

    latentsync syncnet-accuracy --config_path configs/syncnet/talkers.yaml --json_path accuracy.json
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.config import load_config
from latentsync.errors import LatentSyncError
from latentsync.recipe import SyncNetRecipe
from latentsync.terminal import command_parser, report


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("syncnet-accuracy", __doc__)
    parser.add_argument("--config_path", required=True, help="a file such as those in configs/syncnet/")
    parser.add_argument("--json_path", type=Path, help="also write the result to this file")
    parser.add_argument("--seed", type=int, default=1234, help="chooses the pairs (1234)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="values that replace the file's")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the result as JSON; exit code 0, or that of the error."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        recipe = load_config(options.config_path, SyncNetRecipe, options.overrides)
        import torch

        from latentsync.training.loop.run import run_folder
        from latentsync.training.syncnet.evaluation import evaluate_syncnet

        there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = there or torch.device("cpu")
        folder = run_folder(recipe, Path(options.config_path).stem)
        result = evaluate_syncnet(recipe, folder, options.seed, device)
    except LatentSyncError as error:
        return report(error)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if options.json_path is not None:
        write_text(options.json_path, text + "\n")
    print(text)
    return 0

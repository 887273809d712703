"""Turn a folder of videos into clips that can be trained on. See docs/data.md.

    latentsync preprocess input_dir=/data/raw

The same command goes on with a run that was stopped. The input is only read.
"""

from __future__ import annotations

import argparse
import logging
import sys

from latentsync.config import load_config
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.terminal import command_parser, report


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("preprocess", __doc__)
    parser.add_argument("--config_path", default="configs/preprocess.yaml", help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes without a GPU; 0: everything in one process")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="a running Ray cluster, such as auto or HOST:6379")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that replace the file's")
    return parser.parse_intermixed_args(arguments)  # options may stand between key=value pairs


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when all is done, 11 when a step lacks its weights, 130 when it was stopped and can go on."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)
    overrides = list(options.overrides)
    if options.workers is not None:
        overrides.append(f"engine.workers={options.workers}")
    if options.ray_address is not None:
        overrides.append(f"engine.ray_address={options.ray_address}")
    try:
        settings = load_config(options.config_path, PreprocessSettings, overrides)
        from latentsync.preprocess.engine.runner import preprocess  # seconds to import

        accounts = preprocess(settings)
    except LatentSyncError as error:
        return report(error)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    last = accounts[-1]
    print(f"{last.kept_clips} clips, {last.kept_seconds / 3600:.2f} h, in {last.step}.", file=sys.stderr)
    return 0

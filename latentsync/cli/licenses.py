"""Which licence each weight file is under, and whether it allows commercial use.

    latentsync licenses
    latentsync licenses --commercial_only      fails if a file is here that is not known to allow it
"""

from __future__ import annotations

import argparse
from pathlib import Path

from latentsync.places import WEIGHTS
from latentsync.provenance.licences import licence_of, require_commercial, use_text, weight_files
from latentsync.terminal import command_parser, run_command


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("licenses", __doc__)
    parser.add_argument("--dir", type=Path, default=WEIGHTS, help="folder of the weights (%(default)s)")
    parser.add_argument("--commercial_only", action="store_true", help="refuse files not known to allow commercial use")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Print the table of the files that are here, and hold them against ``--commercial_only``."""
    paths = weight_files(options.dir)
    rows = [(str(each.path), each.name, use_text(each.commercial)) for each in map(licence_of, paths)]
    rows.insert(0, ("file", "licence", "commercial use"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if options.commercial_only:
        require_commercial(paths)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))

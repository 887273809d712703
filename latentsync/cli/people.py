"""Everybody in a video: when each person is seen, and how to name them for a dub.

latentsync people in.mp4                                 a line each, with what to give to --face
latentsync people in.mp4 --contact_sheet people.png      images of each besides
latentsync people in.mp4 --json people.json              for programs; without a file it is printed
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import LatentSyncError, NoFaceError, OutputError
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.inference.job.people import VideoPeople

_PRINTED = Path("-")
_MOST_STRETCHES = 5  # that a line tells


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("people", __doc__)
    parser.add_argument("video", type=Path, help="video, picture or folder of pictures")
    parser.add_argument("--contact_sheet", "--sheet", type=Path, metavar="FILE", help="write a PNG with images of each")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=_PRINTED, metavar="FILE", help="write a list for programs, or print it"
    )
    parser.add_argument("--face_network", type=Path, metavar="FILE", help="know people again by it (shape and colors)")
    parser.add_argument("--detector", default="auto", help="auto, face-alignment, yunet, or a file of faces (auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, xpu (auto)")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error; to find nobody is one."""
    options = parse_arguments(arguments)
    try:
        people = _find(options)
        if options.contact_sheet is not None:
            _write_sheet(people, options.contact_sheet)
        if options.json not in (None, _PRINTED):
            _write_json(people, options.json)
    except LatentSyncError as error:
        return report(error, "Error: ")
    print(_as_json(people) if options.json == _PRINTED else for_terminal(_as_lines(people)))
    return 0


def _find(options: argparse.Namespace) -> VideoPeople:
    from latentsync.inference.job.people import find_everybody
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.weights import WeightPaths

    weights = WeightPaths.choose(options.checkpoint_dir)
    known_by = SyncOptions(face_network=str(options.face_network or ""))
    people = find_everybody(options.video, weights, options.detector, options.device, known_by)
    if not people.members:
        raise NoFaceError(f"{options.video} shows no face that could be dubbed.", remedy="Try --detector.")
    return people


def _as_json(people: VideoPeople) -> str:
    return json.dumps([each.to_dict(number, people.frames) for number, each in enumerate(people.members, 1)], indent=1)


def _as_lines(people: VideoPeople) -> str:
    """In the order in which they appear."""
    lines = []
    for number, each in enumerate(people.members, 1):
        spans = [f"{float(start):.1f}-{float(stop):.1f}" for start, stop in each.stretches]
        shown = ", ".join(spans[:_MOST_STRETCHES]) + (" ..." if len(spans) > _MOST_STRETCHES else "")
        sizes = f"face {each.smallest:.0f} to {each.largest:.0f} px"
        lines.append(f"person {number}: {float(each.seconds):.1f} s ({shown}), {sizes}; --face {each.choice}")
    return "\n".join(lines)


def _write_json(people: VideoPeople, path: Path) -> None:
    from latentsync.atomic import write_text

    try:
        write_text(path, _as_json(people) + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", remedy="Choose another place.") from error


def _write_sheet(people: VideoPeople, path: Path) -> None:
    from latentsync.media.contact_sheet import SheetRow, write_sheet

    rows = [
        SheetRow(f"person {number}\n{each.choice}\n{float(each.seconds):.1f} s", [view.image for view in each.views])
        for number, each in enumerate(people.members, 1)
    ]
    try:
        write_sheet(path, rows)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", remedy="Choose another place.") from error

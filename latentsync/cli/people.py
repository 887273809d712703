"""The people in a video, so that one of them can be chosen for a dub.

    latentsync people in.mp4                       a line each, with what to give to --face
    latentsync people in.mp4 --sheet people.png    an image of each besides
    latentsync people in.mp4 --json                for programs
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import LatentSyncError, NoFaceError, OutputError
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.inference.job.people import Person


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("people", __doc__)
    parser.add_argument("video", type=Path, help="video, picture or folder of pictures")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a PNG with an image of each")
    parser.add_argument("--json", action="store_true", help="print a list of face, first_seconds and share_of_frames")
    parser.add_argument("--detector", default="auto", help="auto, face-alignment, yunet, or a file of faces (auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, xpu (auto)")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error; to find nobody is one."""
    options = parse_arguments(arguments)
    try:
        people = _find(options)
        if options.sheet is not None:
            _write_sheet(people, options.sheet)
    except LatentSyncError as error:
        return report(error, "Error: ")
    print(_as_json(people) if options.json else for_terminal(_as_lines(people)))
    return 0


def _find(options: argparse.Namespace) -> list[Person]:
    from latentsync.inference.job.people import find_people
    from latentsync.inference.weights import WeightPaths

    people = find_people(options.video, WeightPaths.choose(options.checkpoint_dir), options.detector, options.device)
    if not people:
        raise NoFaceError(f"{options.video} shows no face in a few frames spread over it.", remedy="Try --detector.")
    return people


def _as_json(people: list[Person]) -> str:
    rows = [{"face": each.choice, "first_seconds": each.time, "share_of_frames": each.share} for each in people]
    return json.dumps(rows, indent=1)


def _as_lines(people: list[Person]) -> str:
    """From left to right, as they are found."""
    return "\n".join(
        f"person {number}: from {each.time:.1f} s, in {each.share:.0%} of the frames looked at; --face {each.choice}"
        for number, each in enumerate(people, start=1)
    )


def _write_sheet(people: list[Person], path: Path) -> None:
    from latentsync.media.contact_sheet import SheetRow, write_sheet

    rows = [SheetRow(f"person {number}: {each.choice}", [each.thumbnail]) for number, each in enumerate(people, 1)]
    try:
        write_sheet(path, rows)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", remedy="Choose another place.") from error

"""Write clips of synthetic talkers with the truth about them.

    latentsync talkers --out DIR --count N --seed S

For each clip NAME.mp4 (H.264 and audio) and NAME.npz (``latentsync.data.talkers.files`` lists the arrays); stills of
the first 48 in contact_sheet.png.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from latentsync.data.talkers.files import CASES, SHEET_CLIPS, contact_strip, write_contact_sheet, write_talker
from latentsync.errors import LatentSyncError
from latentsync.terminal import command_parser, report


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError("at least 1")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    parser = command_parser("talkers", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder, made if need be")
    parser.add_argument("--count", type=_positive, default=12, help="number of clips")
    parser.add_argument("--seed", type=int, default=0, help="clips of different seeds share nothing")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", default="256", help="SIDE or WIDTHxHEIGHT in pixels, even numbers")
    parser.add_argument("--fps", type=Fraction, default=Fraction(25), help="for example 25 or 30000/1001")
    parser.add_argument(
        "--case", default="plain", choices=[*CASES, "mixed"], help="a hard case; mixed takes one after the other"
    )
    parser.add_argument("--crf", type=int, default=14, help="quality of the video, 0 best to 51")
    arguments = parser.parse_args(argv)
    try:
        make(arguments)
    except LatentSyncError as error:
        return report(error)
    except ValueError as error:
        parser.error(str(error))
    print(f"{arguments.count} clips and contact_sheet.png in {arguments.out}")
    return 0


def make(arguments: argparse.Namespace) -> None:
    """Write what the command line asks for."""
    width, _, height = arguments.size.partition("x")
    size = int(width), int(height or width)
    names = CASES if arguments.case == "mixed" else (arguments.case,)
    arguments.out.mkdir(parents=True, exist_ok=True)
    strips = []
    for number in tqdm(range(arguments.count), unit="clip"):
        clip = write_talker(
            arguments.out, number, arguments.seed, names[number % len(names)],
            arguments.seconds, size, arguments.fps, arguments.crf,
        )  # fmt: skip
        if number < SHEET_CLIPS:
            strips.append(contact_strip(clip))
    write_contact_sheet(arguments.out / "contact_sheet.png", strips)

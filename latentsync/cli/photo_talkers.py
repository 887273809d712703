"""Make photographs of people speak: clips with the truth about them, or training clips of their faces.

    latentsync photo-talkers --photos DIR --out DIR --count N
    latentsync photo-talkers --photos DIR --out DIR --count N --crops 128 --validation 60

Photographs show one face each, from the front, at least 34 pixels between the pupils; files that cannot be used are
named. The first form writes what `latentsync talkers` writes. With --crops it writes aligned faces of that many pixels
and clips.jsonl, a manifest that training reads; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from latentsync.data.photo_talkers.crops import PhotoCrops, make_photo_crops
from latentsync.data.photo_talkers.files import PHOTO_CASES, write_photo_talker
from latentsync.data.photo_talkers.portrait import Portrait, PortraitReader, read_portraits
from latentsync.data.talkers.files import SHEET_CLIPS, contact_strip, write_contact_sheet
from latentsync.errors import DataError, LatentSyncError
from latentsync.places import AUXILIARY
from latentsync.terminal import command_parser, report


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    parser = command_parser("photo-talkers", __doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, one person each")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if need be")
    parser.add_argument("--count", type=int, default=12, help="number of clips; people take turns")
    parser.add_argument("--seed", type=int, default=0, help="clips of different seeds share no sentence and no scene")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", default="256", help="SIDE or WIDTHxHEIGHT in pixels, even numbers")
    parser.add_argument("--fps", type=Fraction, default=Fraction(25), help="for example 25 or 30000/1001")
    parser.add_argument("--case", default="plain", choices=[*PHOTO_CASES, "mixed"])
    parser.add_argument("--crf", type=int, default=14, help="quality of the video, 0 best to 51")
    parser.add_argument("--crops", type=int, metavar="SIDE", help="write training clips of SIDE pixels instead")
    parser.add_argument("--validation", type=int, default=0, help="with --crops: further clips, of people held out")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="with --crops: processes")
    parser.add_argument("--weights", type=Path, default=AUXILIARY, help="folder of the face mesh")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if arguments.count < 1:
        parser.error("--count is at least 1")
    try:
        print((_make_crops if arguments.crops else _make_clips)(arguments))
    except LatentSyncError as error:
        return report(error)
    except ValueError as error:
        parser.error(str(error))
    return 0


def _make_crops(arguments: argparse.Namespace) -> str:
    crops = PhotoCrops(arguments.count, arguments.validation, arguments.seconds, arguments.crops, arguments.seed)
    reader = PortraitReader(arguments.weights)
    manifest = make_photo_crops(crops, arguments.photos, arguments.out, reader, arguments.workers)
    return f"The manifest is {manifest}"


def _make_clips(arguments: argparse.Namespace) -> str:
    width, _, height = arguments.size.partition("x")
    size = int(width), int(height or width)
    names = PHOTO_CASES if arguments.case == "mixed" else (arguments.case,)
    portraits = []
    for read in read_portraits(arguments.photos, PortraitReader(arguments.weights)):
        if isinstance(read, Portrait):
            portraits.append(read)
        else:
            print(f"{read.path}: {read.reason}", file=sys.stderr)
        if len(portraits) == arguments.count:
            break
    if not portraits:
        raise DataError(
            f"No photograph in {arguments.photos} can be used.", remedy="Each must show one face from the front."
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    strips = []
    for number in tqdm(range(arguments.count), unit="clip"):
        clip = write_photo_talker(
            arguments.out, portraits, number, arguments.seed, names[number % len(names)],
            arguments.seconds, size, arguments.fps, arguments.crf,
        )  # fmt: skip
        if number < SHEET_CLIPS:
            strips.append(contact_strip(clip))
    write_contact_sheet(arguments.out / "contact_sheet.png", strips)
    return f"{arguments.count} clips and contact_sheet.png in {arguments.out}"

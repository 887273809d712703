"""Fetch the published weights, list what is there, or bring in files that were copied by hand.

    latentsync weights                        what inference with release 1.6 needs
    latentsync weights --variant 1.5 --for training --for eval
    latentsync weights --face-detector
    latentsync weights --list --verify
    latentsync weights --import ~/Downloads/latentsync_unet.pt --variant 1.5

A mirror of the hub is named by HF_ENDPOINT, a proxy by HTTPS_PROXY, a token by HF_TOKEN.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from latentsync.checkpoint.download import download
from latentsync.checkpoint.import_files import import_files
from latentsync.checkpoint.inventory import State, look_up, table
from latentsync.checkpoint.registry import (
    DEFAULT_RELEASE,
    HUB_REPOSITORY,
    INFERENCE_VRAM_GB,
    KNOWN_FILES,
    PURPOSES,
    RELEASES,
    RESOLUTION,
    HubFile,
    files_for,
    of_release,
)
from latentsync.errors import (
    INTERRUPTED_EXIT_CODE,
    ConfigError,
    DownloadError,
    LatentSyncError,
    OutputError,
    WeightsCorruptError,
)
from latentsync.places import WEIGHTS
from latentsync.terminal import command_parser, report

SET_UP_TIMEOUT = 5.0  # seconds for a server to answer while the set-up waits


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("weights", __doc__)
    memory = ", ".join(f"{release} {gigabytes} GB" for release, gigabytes in INFERENCE_VRAM_GB.items())
    pixels = ", ".join(f"{release} {side}" for release, side in RESOLUTION.items())
    parser.add_argument(
        "--variant",
        choices=RELEASES,
        help=f"release (default {DEFAULT_RELEASE}); face side in pixels: {pixels}; GPU memory for inference: {memory}",
    )
    parser.add_argument(
        "--for", dest="purposes", choices=PURPOSES, action="append", help="may be repeated (default: inference)"
    )
    names = sorted({known.target for known in KNOWN_FILES})
    parser.add_argument(
        "--only", action="append", choices=names, metavar="FILE", help="just this file; may be repeated"
    )
    parser.add_argument("--face-detector", action="store_true", help="just the face detector that is free to use, 4 MB")
    parser.add_argument("--dir", type=Path, default=WEIGHTS, help="folder of the weights (%(default)s)")
    parser.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="[REPOSITORY=]REVISION",
        help="pin a hub repository, the variant's if none is named, to a branch, tag or commit (default: main)",
    )
    parser.add_argument("--list", action="store_true", help="show what is there, with size and licence; fetch nothing")
    parser.add_argument("--verify", action="store_true", help="with --list: compare checksums too")
    parser.add_argument("--import", dest="source", type=Path, metavar="PATH", help="copy a file or folder into place")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    release = arguments.variant or DEFAULT_RELEASE
    if arguments.source is not None:
        import_files(arguments.source, arguments.dir, arguments.variant)
        return
    if arguments.face_detector:
        fetch_face_detector(arguments.dir)
        return
    if arguments.list or arguments.verify:
        statuses = [look_up(known, arguments.dir, verify=arguments.verify) for known in of_release(release)]
        print(table(statuses))
        if any(each.state is State.CORRUPT for each in statuses):
            raise WeightsCorruptError("Some files are broken.", remedy="Run this again without --list to replace them.")
        return
    wanted = files_for(release, tuple(arguments.purposes or ["inference"]))
    if arguments.only:
        wanted = [known for known in of_release(release) if known.target in arguments.only]
    download(wanted, arguments.dir, pinned_revisions(arguments.revision, HUB_REPOSITORY[release]))


def fetch_face_detector(folder: Path) -> None:
    """Fetch what YuNet and its face mesh lack, and say so in one line: the set-up does this unasked.

    Raises ``DownloadError`` soon if no server answers, for the set-up goes on without it.
    """
    from latentsync.face.backends import yunet

    names = yunet.missing_files(folder / "auxiliary")
    wanted = [known for known in KNOWN_FILES if Path(known.target).name in names]
    if not wanted:
        return
    try:
        download(wanted, folder, {}, say=lambda text: None, timeout=SET_UP_TIMEOUT)
    except DownloadError as error:
        raise DownloadError(
            f"The face detector (4 MB) is not fetched. {error.message}", remedy=error.remedy
        ) from error
    licences = ", ".join(f"{known.target} ({known.licence})" for known in wanted)
    print(f"Fetched the face detector, checksums as known: {licences}.")


def pinned_revisions(pins: Sequence[str], default: str) -> dict[str, str]:
    """Repository -> revision; a misspelt repository would leave the one that was meant unpinned, so it is refused."""
    known = sorted({each.repository for file in KNOWN_FILES for each in file.sources if isinstance(each, HubFile)})
    revisions = {}
    for pin in pins:
        repository, _, revision = pin.rpartition("=")
        if not revision or repository not in ("", *known):
            raise ConfigError(
                f"--revision {pin} names no revision of a repository that is known here.",
                remedy=f"Give REVISION or REPOSITORY=REVISION with one of {', '.join(known)}.",
            )
        revisions[repository or default] = revision
    return revisions


def main(argv: list[str] | None = None) -> int:
    try:
        run(parse_arguments(argv))
    except LatentSyncError as error:
        return report(error)
    except OSError as error:
        return report(OutputError(f"{error}.", remedy="Check that --dir can be written to."))
    except KeyboardInterrupt:
        print("Interrupted; what has arrived is kept, and the next run goes on from there.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    return 0

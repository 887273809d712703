"""FVD between two folders of videos: frames 20 to 35 of each, cropped to the face, seen by I3D.

    latentsync fvd --results out/dubs --truth data/recordings
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.places import AUXILIARY
from latentsync.terminal import command_parser, run_command


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("fvd", __doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of results")
    parser.add_argument("--truth", type=Path, required=True, help="folder of true recordings; need not be pairs")
    parser.add_argument(
        "--range", choices=("network", "published"), default="network", help="pixels from -1 to 1, as the network was "
        "trained, or from 0 to 1, as the published evaluation gives them (network)",
    )  # fmt: skip
    parser.add_argument("--first_frame", type=int, default=20, help="first of 16 frames (20)")
    parser.add_argument("--detector", default="auto", help="auto, face-alignment or yunet (auto)")
    parser.add_argument("--auxiliary", type=Path, default=AUXILIARY, help="folder of the weights")
    parser.add_argument("--json_path", type=Path, help="also write the result to this file")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Print the result as JSON."""
    from latentsync.checkpoint import sha256_file
    from latentsync.checkpoint.registry import I3D_FILE
    from latentsync.evaluation.networks import find_detector
    from latentsync.evaluation.recordings import videos_in
    from latentsync.evaluation.run import folder_fvd
    from latentsync.evaluation.settings import EvaluationSettings
    from latentsync.metrics.i3d import PixelRange, load_i3d

    settings = EvaluationSettings(
        detector=options.detector, fvd_range=PixelRange(options.range), fvd_first_frame=options.first_frame
    )
    weights = options.auxiliary / I3D_FILE
    network, detector = load_i3d(weights), find_detector(settings, options.auxiliary)
    results, truths = (list(videos_in(folder).values()) for folder in (options.results, options.truth))
    found = asdict(folder_fvd(results, truths, network, detector, settings))
    found |= {"range": options.range, "first_frame": options.first_frame, "weights_sha256": sha256_file(weights)}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    if options.json_path is not None:
        write_text(options.json_path, text + "\n")
    print(text)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))

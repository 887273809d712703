"""Make a model of one person (or of one language) out of minutes of video: an adapter. See docs/adapters.md.

    latentsync adapt --video person.mp4 --output person.safetensors
    latentsync adapt --clips manifest.jsonl --output person.safetensors --minutes 40

The same command goes on with a training that was stopped. Afterwards: latentsync dub ... --adapter person.safetensors
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError
from latentsync.terminal import command_parser, report

if TYPE_CHECKING:
    from latentsync.training.adapters.run import AdaptRequest

MEASURED_HELP = "held-out clips that are dubbed before and after, for figures and images (8)"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("adapt", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="in place of configs/adapter.yaml's")
    parser.add_argument("--video", type=Path, nargs="+", action="extend", default=[], help="videos of the person")
    parser.add_argument("--clips", type=Path, help="in place of videos: folder, list or manifest of prepared clips")
    parser.add_argument("--output", type=Path, required=True, help="the adapter: person.safetensors")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="clips, caches and the run (beside the output)")
    parser.add_argument("--consent", default="", metavar="TEXT", help="for the card: who allowed this, when, for what")
    parser.add_argument(
        "--source", default="", metavar="TEXT", help="for the card: whence the videos are (their names)"
    )
    parser.add_argument("--minutes", type=float, help="end the training after so much time (when it gets no better)")
    parser.add_argument("--measured", type=int, default=8, metavar="N", help=MEASURED_HELP)
    parser.add_argument("--inference_ckpt_path", type=Path, help="the U-Net (as of a dub)")
    parser.add_argument("--unet_config_path", type=Path, help="its YAML, where the weights do not say their size")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    parser.add_argument("--detector", default="auto", help="auto, face-alignment or yunet (auto)")
    return parser.parse_args(arguments)


def make_request(options: argparse.Namespace) -> AdaptRequest:
    """What the arguments ask for."""
    from latentsync.inference.weights import WeightPaths
    from latentsync.training.adapters.run import AdaptRequest

    return AdaptRequest(
        output=options.output,
        work=options.work or options.output.with_name(f"{options.output.stem}_training"),
        weights=WeightPaths.choose(options.checkpoint_dir, options.inference_ckpt_path),
        videos=tuple(options.video),
        clips=options.clips,
        unet_config=options.unet_config_path,
        detector=options.detector,
        consent=options.consent,
        source=options.source,
        minutes=options.minutes,
        overrides=tuple(options.overrides),
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when the adapter is there, 130 when the training was stopped and can go on."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    try:
        from latentsync.cli._adapt_figures import measure
        from latentsync.training.adapters.run import adapt, held_out_clips
        from latentsync.training.loop.trainer import TrainingResult

        request = make_request(options)
        result, recipe = adapt(request)
        if result is TrainingResult.STOPPED:
            print(f"Stopped and saved. The same command goes on from there. Run: {request.run}", file=sys.stderr)
            return INTERRUPTED_EXIT_CODE
        print(f"The adapter is {request.output}; curves: {request.run}/charts.png", file=sys.stderr)
        if not options.consent:
            print("Its card says nothing of consent: --consent, see docs/adapters.md.", file=sys.stderr)
        if options.measured > 0:
            print(measure(request, held_out_clips(recipe), options.measured))
    except LatentSyncError as error:
        return report(error)
    return 0

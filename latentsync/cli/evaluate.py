"""Score results against the truth, with the rows "ground truth" and "unchanged source" beside them.

    latentsync evaluate --results out/dubs --truth data/recordings [--source data/dubbed]

Files belong together by name. Writes evaluation.json, evaluation.html, clips.csv, summary.csv and stills/ to --output.
What each figure can and cannot tell: docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from latentsync.places import AUXILIARY, BUILTIN_SYNCNET, CONFIGS, WEIGHTS
from latentsync.terminal import command_parser, run_command

PUBLISHED_SYNCNET = WEIGHTS / "stable_syncnet.pt"
PUBLISHED_CONFIG = CONFIGS / "syncnet" / "syncnet_16_pixel_attn.yaml"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("evaluate", __doc__)
    files = parser.add_argument_group("files")
    files.add_argument("--results", type=Path, required=True, help="folder of the videos to be scored")
    files.add_argument("--truth", type=Path, required=True, help="folder of the true recordings, with their audio")
    files.add_argument("--source", type=Path, help="folder of the videos that were dubbed (those of --truth)")
    files.add_argument("--output", type=Path, default=Path("output/evaluation"), help="folder of the report")
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--setting",
        choices=("reconstruction", "cross-sync", "cross-sync-truth"),
        help="cross-sync-truth: the truth is the very video that should come out (reconstruction; with --source "
        "cross-sync)",
    )
    scoring.add_argument("--face", default="largest", help="whose: largest, index:N, or X,Y@SECONDS (largest)")
    scoring.add_argument("--detector", default="auto", help="auto, face-alignment or yunet (auto)")
    scoring.add_argument("--mask", default="mask", help="what counts as generated: mask, mask2, ... or a file (mask)")
    scoring.add_argument("--stride", type=int, default=5, help="frames between those that costly metrics look at (5)")
    scoring.add_argument(
        "--fvd_range", choices=("network", "published"), default="network", help="pixels that I3D gets: -1 to 1 as it "
        "was trained, or 0 to 1 as the published evaluation does (network)",
    )  # fmt: skip
    scoring.add_argument("--join_period", type=int, default=16, help="frames between windows; 15 for ours (16)")
    scoring.add_argument("--fvd_first_frame", type=int, default=20, help="first of the 16 frames that I3D sees (20)")
    scoring.add_argument("--seed", type=int, default=1234, help="of the bootstrap (1234)")
    scoring.add_argument("--max_hours", type=float, help="longest audio; 230 MB of memory an hour (4)")
    scoring.add_argument("--max_megapixels", type=float, help="largest frame (67)")
    scoring.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes (cores, up to 4)")
    networks = parser.add_argument_group("networks")
    networks.add_argument("--auxiliary", type=Path, default=AUXILIARY, help="evaluation's weights")
    networks.add_argument("--syncnet", type=Path, help="a StableSyncNet (the published one, else the built-in one)")
    networks.add_argument("--syncnet_config", type=Path, help="its YAML, if the file does not say what it holds")
    networks.add_argument("--csim", type=Path, help="TorchScript face-recognition network, see metrics/identity.py")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Score and say where the report is."""
    from tqdm import tqdm

    from latentsync.evaluation.run import BUILTIN_NOTE, evaluate
    from latentsync.evaluation.settings import EvaluationSettings, EvaluationWeights, Setting
    from latentsync.metrics.i3d import PixelRange

    setting = options.setting or ("cross-sync" if options.source else "reconstruction")
    settings = EvaluationSettings(
        setting=Setting(setting),
        mask=options.mask,
        face=options.face,
        detector=options.detector,
        stride=options.stride,
        fvd_range=PixelRange(options.fvd_range),
        fvd_first_frame=options.fvd_first_frame,
        join_period=options.join_period,
        seed=options.seed,
        max_hours=options.max_hours,
        max_megapixels=options.max_megapixels,
    )
    published = PUBLISHED_SYNCNET.exists()
    syncnet = options.syncnet or (PUBLISHED_SYNCNET if published else BUILTIN_SYNCNET)
    config = options.syncnet_config or (PUBLISHED_CONFIG if syncnet == PUBLISHED_SYNCNET else None)
    weights = EvaluationWeights(options.auxiliary, syncnet, config, options.csim)
    notes = [BUILTIN_NOTE] if syncnet == BUILTIN_SYNCNET else []
    with tqdm(unit="clip", disable=None) as bar:

        def on_clip(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        evaluation, digest = evaluate(
            options.results, options.truth, options.source, options.output, settings, weights,
            workers=options.workers, notes=notes, on_clip=on_clip,
        )  # fmt: skip
    failed = len({failure.clip for failure in evaluation.failures})
    print(f"{len(evaluation.clips)} clips, {failed} with something that could not be measured.")
    print(f"{options.output / 'evaluation.html'}; evaluation.json has the SHA-256 {digest}")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    return run_command(lambda: run(parse_arguments(arguments)))

"""Sync confidence of a video, or of all videos of a folder; those that cannot be scored are counted, not left out.

    latentsync sync-confidence --video_path out.mp4
    latentsync sync-confidence --videos_dir out/ --json_path confidence.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.places import AUXILIARY
from latentsync.terminal import command_parser, run_command


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("sync-confidence", __doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--video_path", type=Path, help="one video")
    what.add_argument("--videos_dir", type=Path, help="folder of videos, searched to any depth")
    parser.add_argument(
        "--initial_model", type=Path, help="SyncNet v2, or a sync network of ours (auxiliary/syncnet_v2.model)"
    )
    parser.add_argument("--auxiliary", type=Path, default=AUXILIARY, help="folder of the detectors' weights")
    parser.add_argument("--face", default="largest", help="whose face is scored, with a sync network of ours (largest)")
    parser.add_argument("--json_path", type=Path, help="also write the result to this file")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Print one line a video and the means; 1 if any could not be scored."""
    import numpy as np

    from latentsync.checkpoint import sha256_file
    from latentsync.checkpoint.registry import SYNCNET_V2_FILE
    from latentsync.evaluation.missing import Missing
    from latentsync.evaluation.recordings import videos_in
    from latentsync.evaluation.settings import EvaluationSettings
    from latentsync.evaluation.sync import ConfidenceScorer

    paths = [options.video_path] if options.video_path else list(videos_in(options.videos_dir).values())
    model = options.initial_model or options.auxiliary / SYNCNET_V2_FILE
    scorer = ConfidenceScorer(model, options.auxiliary, EvaluationSettings(face=options.face))
    rows: list[dict[str, Any]] = []
    for path in paths:
        score = scorer(path)
        rows.append({"video": str(path), "sha256": sha256_file(path) if path.is_file() else None})
        if isinstance(score, Missing):
            rows[-1]["failed"] = score.reason
            print(f"{path}: not scored: {score.reason}")
        else:
            rows[-1] |= {"confidence": score.confidence, "offset": score.offset_frames, "distance": score.distance}
            print(f"{path}: confidence {score.confidence:.3f}, offset {score.offset_frames:+d} frames")
    scored = [row["confidence"] for row in rows if "confidence" in row]
    result = {
        "mean_confidence": float(np.mean(scored)) if scored else None,
        "mean_confidence_failures_as_0": float(np.sum(scored) / len(rows)) if rows else None,
        "videos": len(rows),
        "failed": len(rows) - len(scored),
        "weights": str(model),
        "weights_sha256": sha256_file(model),
        "rows": rows,
    }
    print(f"mean confidence {result['mean_confidence']} of {len(scored)} of {len(rows)} videos; with failures as 0: "
          f"{result['mean_confidence_failures_as_0']}")  # fmt: skip
    if options.json_path is not None:
        write_text(options.json_path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return 1 if len(scored) < len(rows) or not rows else 0


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, 1 if a video could not be scored, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))

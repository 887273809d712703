"""Look at the result of the data pipeline, or make a manifest of it. See docs/data.md.

    latentsync data audit /data                          audit.html and audit.json in /data/manifest
    latentsync data make_manifest /data --out clips.jsonl

/data is the folder that holds high_visual_quality and the other steps.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.config import load_config
from latentsync.errors import DataError
from latentsync.preprocess.audit.final_clips import make_manifest
from latentsync.preprocess.audit.page import audit_page
from latentsync.preprocess.audit.summary import audit
from latentsync.preprocess.engine.layout import SETTINGS_FILE, Layout
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.sequence import wanted_steps
from latentsync.terminal import command_parser, run_command


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("data", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("folder", type=Path, help="output folder of the data pipeline")
    common.add_argument("--step", help="directory of the last step to look at (default: that of the last run)")
    common.add_argument("--speakers", choices=["unknown", "folder"], default="unknown",
                        help="folder: the first sub-folder of the input names the speaker")  # fmt: skip
    look = commands.add_parser("audit", parents=[common], help="what there is and what became of it")
    look.add_argument("--out", type=Path, help="folder for audit.html and audit.json (default: FOLDER/manifest)")
    make = commands.add_parser("make_manifest", parents=[common], help="clips for training, split by recording")
    make.add_argument("--out", type=Path, help="the manifest (default: FOLDER/clips.jsonl)")
    make.add_argument("--validation_share", type=float, default=0.05, help="of the recordings (default %(default)s)")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Write what is asked for, and say where it is."""
    path = options.folder / "manifest" / SETTINGS_FILE
    if not path.is_file():
        raise DataError(f"{options.folder} holds no result of the data pipeline.", remedy="Run it first.")
    settings = load_config(path, PreprocessSettings)
    if options.step:
        settings = replace(settings, last_step=options.step)
    layout, steps = Layout.of(settings.input_dir, options.folder), wanted_steps(settings)
    by_folder = options.speakers == "folder"
    if options.command == "make_manifest":
        target = options.out or options.folder / "clips.jsonl"
        train, validation, copies = make_manifest(layout, settings, steps, target, options.validation_share, by_folder)
        left_out = f" {copies} more are copies of validation clips and left out." if copies else ""
        print(f"{target}: {train} training clips, {validation} validation clips.{left_out}")
        return
    found = audit(layout, steps, by_folder)
    folder = options.out or layout.manifest
    for name, text in (
        ("audit.json", json.dumps(found.to_json(), indent=1, ensure_ascii=False)),
        ("audit.html", audit_page(found, f"Data audit of {layout.input_dir.name}")),
    ):
        write_text(folder / name, text, errors="backslashreplace")  # file names may be any bytes
        print(folder / name)
    print("\n".join(found.verdict))


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))

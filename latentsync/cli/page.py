"""The page: `latentsync page`, then open http://127.0.0.1:7860 in a browser."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.cli._dub_arguments import ADAPTER_HELP, adapter_choice
from latentsync.errors import LatentSyncError
from latentsync.inference.options import BUILTIN_PRESET, DEFAULT_PRESET, PRESETS
from latentsync.page.kept_jobs import GRACE_SECONDS
from latentsync.page.storage import StorageLimits, UploadLimits
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.page.jobs import JobQueue
    from latentsync.page.server import ServerSettings

GB = 10**9


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser(
        "page",
        "Serves a page on which a video gets another sound. Nothing leaves this machine unless you ask.",
        "Weights: `latentsync weights`. Without them the built-in models run.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen at (the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a public address through Gradio's servers")
    parser.add_argument(
        "--allow_host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names that the page is reached by, such as that of a proxy in front of it: page.example",
    )
    parser.add_argument(
        "--root_path", default="", metavar="PATH", help="path below which a proxy in front serves the page: /dub"
    )
    parser.add_argument("--auth", type=Path, metavar="FILE", help="ask for a login: lines NAME:PASSWORD of this file")
    storage, uploads = StorageLimits(), UploadLimits()
    for flag, value, text in (
        ("--visitor_gb", storage.per_visitor / GB, "gigabytes that one visitor may have here"),
        ("--total_gb", storage.in_all / GB, "gigabytes that all visitors may have here, with their results"),
        ("--reserve_gb", storage.reserve / GB, "gigabytes of the disk that stay free; below, nothing is taken"),
        ("--upload_minutes", uploads.seconds / 60, "minutes that an upload may take"),
    ):
        parser.add_argument(flag, type=float, default=value, metavar="N", help=f"{text} ({value:g})")
    parser.add_argument(
        "--grace_minutes",
        type=float,
        default=GRACE_SECONDS / 60,
        metavar="N",
        help=f"minutes that a job goes on while its visitor is away ({GRACE_SECONDS / 60:g})",
    )
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    parser.add_argument("--adapter", type=adapter_choice, metavar="FILE[:STRENGTH]", help=ADAPTER_HELP)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"sampler settings that are chosen at first ({DEFAULT_PRESET}; {BUILTIN_PRESET} with the built-in models)",
    )
    return parser.parse_args(arguments)


def serve(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from latentsync.inference.weights import WeightPaths, installed_weights
    from latentsync.media.limits import MediaLimits
    from latentsync.page.jobs import Example, JobQueue
    from latentsync.page.server import serving, who_can_reach
    from latentsync.runtime.memory import keep_freed_memory

    keep_freed_memory()
    adapter = arguments.adapter
    chosen = WeightPaths.choose(arguments.checkpoint_dir, adapter=adapter)
    chosen.check()
    installed = installed_weights(arguments.checkpoint_dir)
    if adapter is not None and chosen not in installed.values():
        installed[f"{adapter.path.stem}, {adapter.strength:.0%}"] = chosen
    weights = dict(sorted(installed.items(), key=lambda item: item[1] != chosen))
    sample = Example(
        "A drawn speaker and a sentence, 10 s",
        SAMPLE_VIDEO,
        SAMPLE_AUDIO,
        SAMPLE_FACES,
    )
    settings = server_settings(arguments)
    jobs = JobQueue(weights, MediaLimits(), [sample], grace_seconds=arguments.grace_minutes * 60)
    with serving(jobs, settings, arguments.preset) as address:
        print(f"The page is at {address} (Ctrl-C ends it).{who_can_reach(settings, address)}", flush=True)
        if chosen.are_builtin:
            fetch = for_terminal("`latentsync weights`")
            print(f"It runs the built-in models. The published ones: {fetch}", flush=True)
        jobs.warm_up()
        threading.Event().wait()


def job_queue(checkpoint_dir: Path | None, device: str) -> JobQueue:
    """The jobs of a page, with the installed weights, on a ``device`` as in ``DubRequest``. Raises the ``WeightsError``
    family."""
    from latentsync.inference.weights import WeightPaths, installed_weights
    from latentsync.media.limits import MediaLimits
    from latentsync.page.jobs import Example, JobQueue

    chosen = WeightPaths.choose(checkpoint_dir)
    chosen.check()
    weights = dict(sorted(installed_weights(checkpoint_dir).items(), key=lambda item: item[1] != chosen))
    sample = Example(
        "A drawn speaker and a sentence, 10 s",
        SAMPLE_VIDEO,
        SAMPLE_AUDIO,
        SAMPLE_FACES,
    )
    return JobQueue(weights, MediaLimits(), [sample], device=device)


def server_settings(arguments: argparse.Namespace) -> ServerSettings:
    """Where the page is served, for whom, and how much they may send. Raises ``ConfigError``."""
    from latentsync.page.login import Accounts
    from latentsync.page.server import ServerSettings

    return ServerSettings(
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        allow_hosts=tuple(arguments.allow_host),
        root_path=arguments.root_path,
        accounts=Accounts.read(arguments.auth) if arguments.auth else None,
        storage=StorageLimits(
            per_visitor=round(arguments.visitor_gb * GB),
            in_all=round(arguments.total_gb * GB),
            reserve=round(arguments.reserve_gb * GB),
        ),
        uploads=UploadLimits(seconds=arguments.upload_minutes * 60),
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve, and turn what a user can mend into one sentence and an exit code."""
    parsed = parse_arguments(arguments)
    try:
        serve(parsed)
    except LatentSyncError as error:
        report(error, "Error: ")
        return error.exit_code
    except KeyboardInterrupt:
        with suppress(OSError):  # of a terminal that has gone
            print("The page is closed.", file=sys.stderr)
    return 0

"""The page: python gradio_app.py, then open http://127.0.0.1:7860 in a browser."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.inference.presets import BUILTIN_PRESET, DEFAULT_PRESET, PRESETS
from latentsync.stream import exit_process

ASSETS = Path(__file__).parent / "assets"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Serves a page on which a video gets another sound. Nothing leaves this machine unless you ask.",
        epilog="Weights: python -m scripts.download_checkpoints. Without them the built-in models run.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen at (the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a public address through Gradio's servers")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
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
    from latentsync.page.server import serving
    from latentsync.runtime.malloc import keep_freed_memory

    keep_freed_memory()
    chosen = WeightPaths.choose(arguments.checkpoint_dir)
    chosen.check()
    installed = installed_weights(arguments.checkpoint_dir)
    weights = dict(sorted(installed.items(), key=lambda item: item[1] != chosen))
    sample = Example(
        "A drawn speaker and a sentence, 10 s",
        ASSETS / "sample_video.mp4",
        ASSETS / "sample_audio.wav",
        ASSETS / "sample_faces.npz",
    )
    studio = JobQueue(weights, MediaLimits(), [sample])
    with serving(
        studio, host=arguments.host, port=arguments.port, share=arguments.share, preset=arguments.preset
    ) as address:
        print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
        if chosen.are_builtin:
            print("It runs the built-in models. The published ones: python -m scripts.download_checkpoints", flush=True)
        studio.warm_up()
        threading.Event().wait()


def main(arguments: list[str] | None = None) -> int:
    """Serve, and turn what a user can mend into one sentence and an exit code."""
    parsed = parse_arguments(arguments)
    try:
        serve(parsed)
    except LatentSyncError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # Gradio's: the port is taken, or the address is not this machine's
        print(f"Error: the page cannot be served: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("The page is closed.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end is cleaned up after like Ctrl-C
    exit_process(main())

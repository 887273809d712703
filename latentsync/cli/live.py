"""Audio in, a speaking face out, while it comes (docs/live.md).

    latentsync live prepare in.mp4 anna.lsp          # look at the video once
    latentsync live serve anna.lsp                   # then speak to it at the address that is printed
    latentsync live serve people/ --host 0.0.0.0 --key_file key.txt
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import ConfigError
from latentsync.inference.options import LIVE_PRESET, PRESETS, LiveSettings, SyncOptions, apply_preset
from latentsync.inference.weights import WeightPaths, model_settings
from latentsync.terminal import command_parser, run_command

if TYPE_CHECKING:
    from latentsync.inference.pipeline import LipsyncPipeline

PORT = 8001


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("live", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    prepare = actions.add_parser("prepare", help="look at a video once, and keep what a stream needs of it")
    prepare.add_argument("video", type=Path)
    prepare.add_argument("person", type=Path, help="the folder to make, NAME.lsp")
    prepare.add_argument("--face", default="largest", help="whom of several people, as of `latentsync dub` (largest)")
    prepare.add_argument("--detector", default="auto", help="auto, a detector, or a file of faces (auto)")
    serve = actions.add_parser("serve", help="a page and a WebSocket to speak to prepared people")
    serve.add_argument("people", type=Path, help="a prepared person, or a folder of them")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    serve.add_argument("--port", type=int, default=PORT, help=f"port to listen at ({PORT})")
    serve.add_argument("--allow_host", nargs="+", default=[], metavar="NAME", help="further names of this server")
    serve.add_argument("--key_file", type=Path, metavar="FILE", help="what has to be said to begin; needed with --host")
    serve.add_argument("--sessions", type=int, default=1, metavar="N", help="people who may speak at once (1)")
    serve.add_argument("--window", type=int, default=LiveSettings().window, metavar="N", help="frames together (8)")
    for action in (prepare, serve):
        action.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
        action.add_argument("--preset", choices=PRESETS, default=LIVE_PRESET, help=f"sampler settings ({LIVE_PRESET})")
        action.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (auto)")
    return parser.parse_args(arguments)


def load(parsed: argparse.Namespace) -> tuple[LipsyncPipeline, SyncOptions, WeightPaths]:
    """The networks, and the options that a stream of them has."""
    from latentsync.inference.loading import load_pipeline
    from latentsync.inference.precision import common_precision  # here: it imports torch, which takes seconds
    from latentsync.runtime.device import choose_devices

    weights, sampler = apply_preset(parsed.preset, WeightPaths.choose(parsed.checkpoint_dir))
    weights.check()
    settings, devices = model_settings(weights.unet, None), choose_devices(parsed.device)
    dtype = common_precision("auto", devices, weights.unet, settings.resolution)
    live = LiveSettings(window=getattr(parsed, "window", LiveSettings().window))
    options = SyncOptions(sampler=sampler, face=getattr(parsed, "face", "largest"), live=live)
    return load_pipeline(weights, settings, devices, dtype), options, weights


def prepare(parsed: argparse.Namespace) -> None:
    """Analyse a video."""
    from latentsync.inference.faces import FaceFinder
    from latentsync.inference.record import StageClock
    from latentsync.live.person import analyse, save_person
    from latentsync.media.video import VideoFile
    from latentsync.runtime.device import choose_devices

    pipeline, options, weights = load(parsed)
    video = VideoFile(parsed.video)
    device, aspect = choose_devices(parsed.device)[0], video.info.sample_aspect_ratio
    finder = FaceFinder(parsed.detector, weights.auxiliary, device, StageClock(), pixel_aspect=aspect)
    person = analyse(video, finder.tracks(video.info, options), pipeline, options)
    save_person(person, parsed.video, parsed.person, pipeline)
    faces = sum(each.face is not None for each in person.known.values())
    print(f"{parsed.person}: {len(person.known)} frames, {faces} with the face.")


def serve(parsed: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from latentsync.live.server.app import serving
    from latentsync.live.server.studio import Studio, StudioLimits, people_in

    people = people_in(parsed.people)
    key = "" if parsed.key_file is None else _key(parsed.key_file)
    pipeline, options, _ = load(parsed)
    studio = Studio(pipeline, people, options, StudioLimits(sessions=parsed.sessions, key=key))
    with serving(studio, host=parsed.host, port=parsed.port, allow_hosts=parsed.allow_host) as address:
        print(f"Speak at {address} (Ctrl-C ends it).", flush=True)
        threading.Event().wait()


def _key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error
    if len(key) < 16:
        raise ConfigError(f"{path} holds no key.", remedy="Write 16 or more characters into it that nobody guesses.")
    return key


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parsed = parse_arguments(arguments)
    try:
        return run_command(lambda: {"prepare": prepare, "serve": serve}[parsed.action](parsed))
    except KeyboardInterrupt:
        return 0

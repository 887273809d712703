"""Dub a video: `latentsync dub --video_path in.mp4 --audio_path speech.wav --video_out_path out.mp4`"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentsync.checkpoint import AdapterChoice
from latentsync.cli._dub_arguments import make_parser, parse_arguments
from latentsync.cli.scene import read_scene_file
from latentsync.errors import INTERRUPTED_EXIT_CODE, ConfigError, LatentSyncError
from latentsync.inference.options import DEEPCACHE_INTERVAL, SyncGate, apply_preset
from latentsync.inference.stretches import SilenceMode
from latentsync.inference.timeline import LengthMode
from latentsync.terminal import for_terminal, report
from latentsync.types import Compat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from latentsync.inference.job.request import DubRequest
    from latentsync.scene.model import Scene

Settings = TypeVar("Settings", bound="DataclassInstance")


def make_request(arguments: argparse.Namespace) -> DubRequest:
    """The dub that the arguments ask for. Raises ``ConfigError`` for values that make no sense."""
    from latentsync.face.paste_settings import PasteSettings
    from latentsync.face.visibility import VisibilitySettings
    from latentsync.inference.excerpt import Excerpt
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.weights import WeightPaths
    from latentsync.media.limits import GENEROUS
    from latentsync.media.writer import EncodingOptions
    from latentsync.provenance.signature import Signer

    weights, sampler = apply_preset(
        arguments.preset,
        WeightPaths.choose(arguments.checkpoint_dir, arguments.inference_ckpt_path, arguments.adapter),
        steps=arguments.inference_steps,
        guidance_scale=arguments.guidance_scale,
        cache_interval=DEEPCACHE_INTERVAL if arguments.enable_deepcache else None,
    )
    video, audio, scene = _inputs(arguments)
    limits = GENEROUS.raised(arguments.max_hours, arguments.max_megapixels, by="--max_hours, --max_megapixels")
    return DubRequest(
        video=video,
        audio=audio,
        output=arguments.video_out_path,
        options=SyncOptions(
            sampler=sampler,
            seed=arguments.seed,
            length=LengthMode(arguments.length),
            face=arguments.face,
            face_network=str(arguments.face_network or ""),
            compat=None if arguments.compat is None else Compat(arguments.compat),
            overlap=arguments.overlap,
            check_output=not arguments.no_output_check,
            excerpt=None if arguments.excerpt is None else Excerpt(*arguments.excerpt),
            silence=SilenceMode(arguments.silence),
            skip=tuple(arguments.skip or ()),
            sync_gate=SyncGate(arguments.sync_gate),
            visibility=_settings(VisibilitySettings, arguments),
            paste=_settings(PasteSettings, arguments),
        ),
        encoding=EncodingOptions(arguments.codec, arguments.crf, arguments.encoder_preset, arguments.pix_fmt),
        unet_config=arguments.unet_config_path,
        weights=weights,
        device=arguments.device,
        precision=arguments.precision,
        detector=arguments.detector,
        batch=arguments.batch,
        compiled=arguments.compile,
        overwrite=arguments.overwrite,
        report=arguments.report,
        contact_sheet=arguments.contact_sheet,
        limits=limits,
        label=not arguments.no_label,
        signer=None if arguments.c2pa is None else Signer(*arguments.c2pa),
        commercial_only=arguments.commercial_only,
        drive=arguments.drive,
        audio_track=arguments.audio_track,
        av_offset=arguments.av_offset,
        copy_audio=arguments.copy_audio,
        whole_frames=arguments.whole_frames,
        fps=arguments.fps,
        deinterlace=arguments.deinterlace,
        resume=arguments.resume,
        scene=scene,
    )


def _inputs(arguments: argparse.Namespace) -> tuple[Path, Path, Scene | None]:
    """The video, the audio (of a scene, its first file), and the scene. Raises ``ConfigError``."""
    video, audio, people = arguments.video_path, arguments.audio_path, arguments.people or []
    if arguments.scene is None:
        if people:
            raise ConfigError("--people names the people of a scene, and there is none.", remedy="Give --scene too.")
        return video, audio, None
    scene = read_scene_file(arguments.scene, video, audio, people)
    if scene.video is None:
        raise ConfigError(f"{arguments.scene} does not say which video it is of.", remedy="Give --video_path.")
    first = next(scene.files(), None)
    if first is None:
        raise ConfigError(f"{arguments.scene} names no audio.", remedy="Give --audio_path.")
    return scene.video, first, scene


def _settings(kind: type[Settings], arguments: argparse.Namespace) -> Settings:
    """The dataclass ``kind`` with those of its fields that the command line has a value for."""
    given = {each.name: getattr(arguments, each.name, None) for each in fields(kind)}
    return kind(**{name: value for name, value in given.items() if value is not None})


def command_for(arguments: argparse.Namespace) -> str:
    """The command line that asks for the same from any folder, and with the seed that was drawn."""
    from latentsync.face.selection import FaceChoice

    parser = make_parser()
    words = ["latentsync", "dub"]
    for name, value in vars(arguments).items():
        if value == parser.get_default(name):
            continue
        option = {"dry_run": "--dry-run", "no_output_check": "--no-output-check"}.get(name, f"--{name}")
        if isinstance(value, list):
            words += [option, *map(_as_said, value)]
        elif value is True:
            words.append(option)
        else:
            named = name in ("detector", "mask", "enhance", "occlusion")
            photo = FaceChoice.parse(value).photo if name == "face" else None
            suffix = Path(value).suffix if named else ""
            if isinstance(value, AdapterChoice) or (suffix and ":" not in suffix):  # --enhance package.module:function
                value = value.absolute() if isinstance(value, AdapterChoice) else Path(value)
            value = photo or value
            words.append(f"{option}={value.absolute() if isinstance(value, Path) else value}")
    return shlex.join(words)


def _as_said(value: object) -> str:
    """One of the values of a flag: a path as it is found from anywhere, a person of a scene as NAME=FACE."""
    if isinstance(value, tuple):
        return "=".join(value)
    return str(value.absolute() if isinstance(value, Path) else value)


def main(arguments: list[str] | None = None) -> int:
    """Dub, or only check with --dry-run. An error that the user can mend is one sentence and an exit code."""
    parsed = parse_arguments(arguments)
    try:
        from latentsync.inference.job.dub import dub
        from latentsync.inference.job.preflight import preflight
        from latentsync.inference.job.progress import ProgressBar, RunControl
        from latentsync.inference.job.resume import describe_kept
        from latentsync.runtime.memory import keep_freed_memory

        keep_freed_memory()
        request = make_request(parsed)
        if parsed.dry_run:
            checked = preflight(request, on_note=lambda text: print(for_terminal(text), file=sys.stderr))
            print(for_terminal("\n".join(filter(None, [checked.describe(), describe_kept(request, checked)]))))
            return 0
        with ProgressBar(quiet=parsed.quiet) as bar:
            account = dub(request, control=RunControl(bar.update), on_note=lambda text: bar.write(for_terminal(text)))
        if not parsed.quiet:
            print(for_terminal(account.summary()), file=sys.stderr)
    except LatentSyncError as error:
        code = report(error, "Error: ")
        if parsed.resume and not parsed.dry_run:
            _say_how_to_go_on(parsed)
        return code
    except KeyboardInterrupt:
        print("Stopped." if parsed.resume else "Stopped; nothing was left behind.", file=sys.stderr)
        if parsed.resume:
            _say_how_to_go_on(parsed)
        return INTERRUPTED_EXIT_CODE
    return 0


def _say_how_to_go_on(parsed: argparse.Namespace) -> None:
    from latentsync.inference.job.request import kept_folder
    from latentsync.inference.kept_latents import windows_kept

    count = windows_kept(kept_folder(parsed.video_out_path))
    if count:
        print(for_terminal(f"  -> {count} windows are finished; go on with `{command_for(parsed)}`."), file=sys.stderr)

"""Dub a video: `latentsync dub --video_path in.mp4 --audio_path speech.wav --video_out_path out.mp4`"""

from __future__ import annotations

import argparse
import secrets
import shlex
import sys
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentsync.checkpoint import AdapterChoice
from latentsync.cli.scene import PEOPLE_HELP, person, read_scene_file
from latentsync.errors import INTERRUPTED_EXIT_CODE, ConfigError, LatentSyncError
from latentsync.inference.options import (
    BUILTIN_PRESET,
    DEEPCACHE_INTERVAL,
    DEFAULT_PRESET,
    DEFAULT_SEED,
    PRESETS,
    SyncGate,
    apply_preset,
)
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.terminal import command_parser, for_terminal, report
from latentsync.types import Compat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from latentsync.inference.job.request import DubRequest
    from latentsync.scene.model import Scene


Settings = TypeVar("Settings", bound="DataclassInstance")
OFFSET_HELP = "by how much later the audio begins, mouth and all; negative: its beginning is left out (0)"
WHOLE_FRAMES_HELP = "end the audio with a frame, so that results can be joined (docs/scenes.md)"
SCENE_HELP = "who speaks when, with which audio: several people, turns, gaps (docs/scenes.md)"
ADAPTER_HELP = "what `latentsync adapt` made for this person, 0 to 2 times as strong (1)"


_MOST_FPS = 1000


def _seed(text: str) -> int:
    """A number, or one drawn by the system for -1; the report names it."""
    try:
        seed = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
    return secrets.randbelow(2**32) if seed == -1 else seed


def _seconds(text: str) -> Fraction:
    """A time as 1.5 or 3/2."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from error


def _stretch(text: str) -> Stretch:
    """A stretch of the result as 12.0-14.5."""
    try:
        return Stretch.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def adapter_choice(text: str) -> AdapterChoice:
    """An adapter's file, and how strongly it acts behind a colon."""
    try:
        return AdapterChoice.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _rate(text: str) -> Fraction:
    """Frames per second as 24 or 30000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate") from error
    if not 1 <= rate <= _MOST_FPS:
        raise argparse.ArgumentTypeError(f"{text} frames per second are not possible: 1 to {_MOST_FPS} are")
    return rate


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, of this process if it is not given."""
    words = sys.argv[1:] if arguments is None else arguments
    is_scene = any(word.partition("=")[0] == "--scene" for word in words)
    return make_parser(is_scene).parse_args(_with_sample(words) if "--sample" in words else words)


def _with_sample(words: list[str]) -> list[str]:
    """The command line with the files of the sample, which comes with the program; the result is yours to name."""
    given = [word for word in words if word != "--sample"]
    files = ["--video_path", SAMPLE_VIDEO, "--audio_path", SAMPLE_AUDIO, "--detector", SAMPLE_FACES]
    named = any(word.partition("=")[0] == "--video_out_path" for word in given)
    return [*map(str, files), *([] if named else ["--video_out_path", "sample.mp4"]), *given]


def make_parser(is_scene: bool = False) -> argparse.ArgumentParser:
    """What the command line understands. Defaults of None mean: what the preset, the weights or the source say.

    ``is_scene``: there is a scene file, which may name video and audio.
    """
    parser = command_parser(
        "dub",
        "Changes the mouth in a video so that it speaks the given audio.",
        "Weights: `latentsync weights`. Exit codes: docs/dubbing.md.",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--video_path", type=Path, required=not is_scene, help="video, picture or folder of pictures")
    files.add_argument("--audio_path", type=Path, required=not is_scene, help="audio that the mouth is to speak")
    files.add_argument("--scene", type=Path, metavar="FILE", help=SCENE_HELP)
    files.add_argument("--people", nargs="+", action="extend", type=person, metavar="NAME=FACE", help=PEOPLE_HELP)
    files.add_argument("--sample", action="store_true", help="both from the sample that is here, into sample.mp4")
    files.add_argument("--drive", type=Path, metavar="FILE", help="audio that the mouth follows instead; not heard")
    files.add_argument("--audio_track", type=int, metavar="N", help="which audio track of --audio_path, from 0")
    files.add_argument("--av_offset", type=_seconds, default=Fraction(0), metavar="SECONDS", help=OFFSET_HELP)
    files.add_argument("--copy_audio", action="store_true", help="never encode audio that the result can hold as it is")
    files.add_argument("--whole_frames", action="store_true", help=WHOLE_FRAMES_HELP)
    files.add_argument("--video_out_path", type=Path, required=True, help="result: .mp4 .mov .mkv .webm .avi")
    files.add_argument("--fps", type=_rate, help="frames per second of a picture or a folder of pictures (25)")
    files.add_argument("--deinterlace", action="store_true", help="make whole frames of an interlaced video")
    files.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report of the run")
    files.add_argument("--contact_sheet", type=Path, metavar="PNG", help="write an overview picture of the run")
    files.add_argument("--overwrite", action="store_true", help="replace the result if it exists")
    files.add_argument(
        "--resume", action="store_true", help="keep what is finished until the result is there, and go on where it ends"
    )

    model = parser.add_argument_group("model")
    model.add_argument("--unet_config_path", type=Path, help="U-Net YAML; needed if the weights do not say their size")
    model.add_argument("--inference_ckpt_path", type=Path, help="U-Net weights (checkpoints/latentsync_unet.pt)")
    model.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    model.add_argument("--adapter", type=adapter_choice, metavar="FILE[:STRENGTH]", help=ADAPTER_HELP)
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, xpu; or several: cuda:0,cuda:1 (auto)")
    model.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16 (auto: what a probe finds good)")
    model.add_argument("--compile", action="store_true", help="torch.compile: minutes at first, then faster on a GPU")

    add_result_options(parser.add_argument_group("result"))

    face = parser.add_argument_group("face")
    face.add_argument(
        "--face", default="largest", help="whom to dub: largest, index:N, X,Y@SECONDS, or a photograph (largest)"
    )
    face.add_argument(
        "--face_network",
        type=Path,
        metavar="FILE",
        help="know people again by this network, TorchScript or ONNX (their shape and colors)",
    )
    face.add_argument("--detector", default="auto", help="auto, face-alignment, yunet, or a file of faces (auto)")

    add_visibility_options(face)
    add_paste_options(parser.add_argument_group("paste (not with --compat)"))

    encoding = parser.add_argument_group("encoding")
    encoding.add_argument(
        "--codec", default="auto", help="auto, h264, hevc, vp9, prores, ffv1, png (auto: by the suffix)"
    )
    encoding.add_argument("--crf", type=int, help="quality of the encoder, lower is better (near the source)")
    encoding.add_argument(
        "--encoder_preset", default="fast", help="speed of h264, hevc and vp9, from ultrafast to veryslow (fast)"
    )
    encoding.add_argument("--pix_fmt", help="FFmpeg's name of a pixel format (that of the source)")

    provenance = parser.add_argument_group("provenance (docs/labelling.md)")
    provenance.add_argument("--no_label", action="store_true", help="no tag in the metadata that says: AI-modified")
    provenance.add_argument(
        "--c2pa", nargs=2, type=Path, metavar=("CERT", "KEY"), help="sign the result (needs the package c2pa-python)"
    )
    provenance.add_argument(
        "--commercial_only", action="store_true", help="refuse weights that are not known to allow commercial use"
    )

    limits = parser.add_argument_group("limits")
    limits.add_argument("--max_hours", type=float, help="longest audio; 230 MB of memory an hour (4)")
    limits.add_argument("--max_megapixels", type=float, help="largest frame of the video (67)")

    parser.add_argument("--dry-run", action="store_true", help="only check the files and say what the run will cost")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, only errors")
    return parser


def add_visibility_options(group: argparse._ArgumentGroup) -> None:
    """Which faces are left alone because of how they are seen. Defaults: ``face.visibility.VisibilitySettings``."""
    group.add_argument("--max_yaw", type=float, metavar="DEGREES", help="leave heads alone that turn further (50)")
    group.add_argument("--max_pitch", type=float, metavar="DEGREES", help="leave heads alone that tilt further (45)")
    group.add_argument("--min_face", type=float, metavar="PIXELS", help="leave smaller faces alone (40)")
    group.add_argument(
        "--max_cut", type=float, metavar="SHARE", help="leave a face alone whose lower half the frame cuts more (0.35)"
    )

    group.add_argument(
        "--occlusion",
        metavar="auto|off|FILE",
        help="what is before the mouth stays: found by itself; not; where a mask video is white; by a network (auto)",
    )


def add_paste_options(group: argparse._ArgumentGroup) -> None:
    """How generated faces are put back. Defaults: ``face.paste_settings.PasteSettings``."""
    group.add_argument("--mask", help="what is painted: face, trained (all that is generated), or a picture (face)")
    group.add_argument("--feather", type=float, metavar="SHARE", help="width of the soft border, of the canvas (0.05)")
    group.add_argument("--expand", type=float, metavar="SHARE", help="make the outline of the face larger (0)")
    group.add_argument("--detail", type=float, metavar="SHARE", help="fine structure of the source on the skin (1)")
    group.add_argument("--enhance", metavar="WHAT", help="improves faces: module:function, or a .pt or .onnx file")
    group.add_argument("--enhance_strength", type=float, metavar="SHARE", help="how much of that is taken (1)")
    group.add_argument("--debug_mask", action="store_true", default=None, help="tint what is painted")


def add_result_options(group: argparse._ArgumentGroup) -> None:
    """What the result looks like."""
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"sampler settings ({DEFAULT_PRESET}; {BUILTIN_PRESET} with the built-in models)",
    )
    group.add_argument("--inference_steps", type=int, help="denoising steps (20)")
    group.add_argument("--guidance_scale", type=float, help="how strongly the mouth follows the audio, 1 to 3 (1.5)")
    group.add_argument("--enable_deepcache", action="store_true", help="reuse deep features at two steps of three")
    group.add_argument("--seed", type=_seed, default=DEFAULT_SEED, help=f"-1: another every time ({DEFAULT_SEED})")
    group.add_argument("--batch", default="auto", help="windows of 16 frames generated together (auto)")
    group.add_argument("--overlap", type=int, metavar="N", help="frames that windows share; 0: as published (1)")
    group.add_argument(
        "--length",
        choices=[mode.value for mode in LengthMode],
        default=LengthMode.PINGPONG.value,
        help="how a video of another length than the audio is fitted (pingpong)",
    )
    group.add_argument(
        "--excerpt",
        nargs=2,
        type=_seconds,
        metavar=("FROM", "TO"),
        help="only these seconds of the result, to try a setting",
    )
    group.add_argument(
        "--skip",
        nargs="+",
        action="extend",
        type=_stretch,
        metavar="FROM-TO",
        help="seconds of the result that show the source as it is, such as 12.0-14.5; any number of them",
    )
    group.add_argument(
        "--silence",
        choices=[mode.value for mode in SilenceMode],
        default=SilenceMode.GENERATE.value,
        help="where nobody speaks: what the network makes of it, a closed mouth, or the source as it is (generate)",
    )
    group.add_argument(
        "--sync_gate",
        choices=[gate.value for gate in SyncGate],
        default=SyncGate.OFF.value,
        help="let a sync network judge every 2.4 s: report says where lips and audio differ, redo makes it again (off)",
    )
    group.add_argument("--no-output-check", action="store_true", help="keep what the network gives, even noise")
    group.add_argument(
        "--compat",
        choices=[release.value for release in Compat],
        help="reproduce that release instead of improving on it",
    )


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
        from latentsync.runtime.malloc import keep_freed_memory

        keep_freed_memory()
        request = make_request(parsed)
        if parsed.dry_run:
            checked = preflight(request)
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

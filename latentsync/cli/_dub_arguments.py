"""The command line of `latentsync dub`: options in their groups, types of values, the sample."""

from __future__ import annotations

import argparse
import secrets
import sys
from fractions import Fraction
from pathlib import Path

from latentsync.checkpoint import AdapterChoice
from latentsync.cli.scene import PEOPLE_HELP, person
from latentsync.errors import ConfigError
from latentsync.inference.options import BUILTIN_PRESET, DEFAULT_PRESET, DEFAULT_SEED, PRESETS, SyncGate
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.terminal import command_parser
from latentsync.types import Compat

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
    _add_files(parser.add_argument_group("files"), is_scene)
    _add_model(parser.add_argument_group("model"))
    _add_result(parser.add_argument_group("result"))
    face = parser.add_argument_group("face")
    _add_face(face)
    _add_visibility(face)
    _add_paste(parser.add_argument_group("paste (not with --compat)"))
    _add_encoding(parser.add_argument_group("encoding"))
    _add_provenance(parser.add_argument_group("provenance (docs/labelling.md)"))
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max_hours", type=float, help="longest audio; 230 MB of memory an hour (4)")
    limits.add_argument("--max_megapixels", type=float, help="largest frame of the video (67)")
    parser.add_argument("--dry-run", action="store_true", help="only check the files and say what the run will cost")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, only errors")
    return parser


def _add_files(group: argparse._ArgumentGroup, is_scene: bool) -> None:
    """What is read and written."""
    group.add_argument("--video_path", type=Path, required=not is_scene, help="video, picture or folder of pictures")
    group.add_argument("--audio_path", type=Path, required=not is_scene, help="audio that the mouth is to speak")
    group.add_argument("--scene", type=Path, metavar="FILE", help=SCENE_HELP)
    group.add_argument("--people", nargs="+", action="extend", type=person, metavar="NAME=FACE", help=PEOPLE_HELP)
    group.add_argument("--sample", action="store_true", help="both from the sample that is here, into sample.mp4")
    group.add_argument("--drive", type=Path, metavar="FILE", help="audio that the mouth follows instead; not heard")
    group.add_argument("--audio_track", type=int, metavar="N", help="which audio track of --audio_path, from 0")
    group.add_argument("--av_offset", type=_seconds, default=Fraction(0), metavar="SECONDS", help=OFFSET_HELP)
    group.add_argument("--copy_audio", action="store_true", help="never encode audio that the result can hold as it is")
    group.add_argument("--whole_frames", action="store_true", help=WHOLE_FRAMES_HELP)
    group.add_argument("--video_out_path", type=Path, required=True, help="result: .mp4 .mov .mkv .webm .avi")
    group.add_argument("--fps", type=_rate, help="frames per second of a picture or a folder of pictures (25)")
    group.add_argument("--deinterlace", action="store_true", help="make whole frames of an interlaced video")
    group.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report of the run")
    group.add_argument("--contact_sheet", type=Path, metavar="PNG", help="write an overview picture of the run")
    group.add_argument("--overwrite", action="store_true", help="replace the result if it exists")
    group.add_argument(
        "--resume", action="store_true", help="keep what is finished until the result is there, and go on where it ends"
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    """The networks, and what they run on."""
    group.add_argument("--unet_config_path", type=Path, help="U-Net YAML; needed if the weights do not say their size")
    group.add_argument("--inference_ckpt_path", type=Path, help="U-Net weights (checkpoints/latentsync_unet.pt)")
    group.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    group.add_argument("--adapter", type=adapter_choice, metavar="FILE[:STRENGTH]", help=ADAPTER_HELP)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, xpu; or several: cuda:0,cuda:1 (auto)")
    group.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16 (auto: what a probe finds good)")
    group.add_argument("--compile", action="store_true", help="torch.compile: minutes at first, then faster on a GPU")


def _add_result(group: argparse._ArgumentGroup) -> None:
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


def _add_face(group: argparse._ArgumentGroup) -> None:
    """Whom to dub, and how faces are found."""
    group.add_argument(
        "--face",
        default="largest",
        help="whom to dub: largest, speaking, index:N, X,Y@SECONDS, or a photograph (largest)",
    )
    group.add_argument(
        "--face_network",
        type=Path,
        metavar="FILE",
        help="know people again by this network, TorchScript or ONNX (their shape and colors)",
    )
    group.add_argument("--detector", default="auto", help="auto, face-alignment, yunet, or a file of faces (auto)")


def _add_visibility(group: argparse._ArgumentGroup) -> None:
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


def _add_paste(group: argparse._ArgumentGroup) -> None:
    """How generated faces are put back. Defaults: ``face.paste_settings.PasteSettings``."""
    group.add_argument("--mask", help="what is painted: face, trained (all that is generated), or a picture (face)")
    group.add_argument("--feather", type=float, metavar="SHARE", help="width of the soft border, of the canvas (0.05)")
    group.add_argument("--expand", type=float, metavar="SHARE", help="make the outline of the face larger (0)")
    group.add_argument("--detail", type=float, metavar="SHARE", help="fine structure of the source on the skin (1)")
    group.add_argument("--enhance", metavar="WHAT", help="improves faces: module:function, or a .pt or .onnx file")
    group.add_argument("--enhance_strength", type=float, metavar="SHARE", help="how much of that is taken (1)")
    group.add_argument("--debug_mask", action="store_true", default=None, help="tint what is painted")


def _add_encoding(group: argparse._ArgumentGroup) -> None:
    """The encoder and its settings. Defaults: ``media.encoding.EncodingOptions``."""
    group.add_argument("--codec", default="auto", help="auto, h264, hevc, vp9, prores, ffv1, png (auto: by the suffix)")
    group.add_argument("--crf", type=int, help="quality of the encoder, lower is better (near the source)")
    group.add_argument(
        "--encoder_preset", default="fast", help="speed of h264, hevc and vp9, from ultrafast to veryslow (fast)"
    )
    group.add_argument("--pix_fmt", help="FFmpeg's name of a pixel format (that of the source)")


def _add_provenance(group: argparse._ArgumentGroup) -> None:
    """What the result says of its making, and which weights it may be made with."""
    group.add_argument("--no_label", action="store_true", help="no tag in the metadata that says: AI-modified")
    group.add_argument(
        "--c2pa", nargs=2, type=Path, metavar=("CERT", "KEY"), help="sign the result (needs the package c2pa-python)"
    )
    group.add_argument(
        "--commercial_only", action="store_true", help="refuse weights that are not known to allow commercial use"
    )

"""Every flag of `latentsync dub` reaches the request, and the command that goes on with a run asks for the same."""

from __future__ import annotations

import shlex
from fractions import Fraction
from operator import attrgetter
from pathlib import Path

import pytest

from latentsync.checkpoint import AdapterChoice
from latentsync.cli._dub_arguments import make_parser, parse_arguments
from latentsync.cli.dub import command_for, make_request
from latentsync.errors import ConfigError
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.options import SyncGate
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode
from latentsync.provenance.signature import Signer
from latentsync.types import Compat

BASE = ("--video_path", "/in.mp4", "--audio_path", "/speech.wav", "--video_out_path", "/out.mp4")
NO_PART_OF_A_REQUEST = {"--help", "-h", "--sample", "--dry-run", "--quiet", "--scene", "--people"}  # test_scene.py
STRETCHES = tuple(Stretch.parse(text) for text in ("1-2", "3.5-4", "6-7"))
# What is said -> where it goes, and as what.
FLAGS = {
    "--mask trained": ("options.paste.mask", "trained"),
    "--mask /mask.png": ("options.paste.mask", "/mask.png"),
    "--feather 0.1": ("options.paste.feather", 0.1),
    "--expand=-0.02": ("options.paste.expand", -0.02),
    "--detail 0.5": ("options.paste.detail", 0.5),
    "--enhance package.module:function": ("options.paste.enhance", "package.module:function"),
    "--enhance_strength 0.25": ("options.paste.enhance_strength", 0.25),
    "--debug_mask": ("options.paste.debug_mask", True),
    "--overlap 4": ("options.overlap", 4),
    "--overlap 0": ("options.overlap", 0),
    "--occlusion off": ("options.visibility.occlusion", "off"),
    "--occlusion /things.mp4": ("options.visibility.occlusion", "/things.mp4"),
    "--max_yaw 30": ("options.visibility.max_yaw", 30.0),
    "--max_yaw 0": ("options.visibility.max_yaw", 0.0),
    "--max_pitch 20": ("options.visibility.max_pitch", 20.0),
    "--min_face 64": ("options.visibility.min_face", 64.0),
    "--max_cut 0.1": ("options.visibility.max_cut", 0.1),
    "--silence close": ("options.silence", SilenceMode.CLOSE),
    "--silence original": ("options.silence", SilenceMode.ORIGINAL),
    "--skip 1-2 3.5-4 --skip 6-7": ("options.skip", STRETCHES),
    "--sync_gate report": ("options.sync_gate", SyncGate.REPORT),
    "--sync_gate redo": ("options.sync_gate", SyncGate.REDO),
    "--seed 5": ("options.seed", 5),
    "--length loop": ("options.length", LengthMode.LOOP),
    "--face index:1": ("options.face", "index:1"),
    "--face /ref.png": ("options.face", "/ref.png"),
    "--face 100,200@1.5": ("options.face", "100,200@1.5"),
    "--face_network /faces.onnx": ("options.face_network", "/faces.onnx"),
    "--compat 1.5": ("options.compat", Compat.V1_5),
    "--excerpt 1 3/2": ("options.excerpt", Excerpt(Fraction(1), Fraction(3, 2))),
    "--no-output-check": ("options.check_output", False),
    "--inference_steps 4": ("options.sampler.steps", 4),
    "--guidance_scale 2.5": ("options.sampler.guidance_scale", 2.5),
    "--enable_deepcache": ("options.sampler.cache_interval", 3),
    "--preset preview": ("options.sampler.steps", 4),
    "--drive /voice.wav": ("drive", Path("/voice.wav")),
    "--audio_track 1": ("audio_track", 1),
    "--av_offset=-0.1": ("av_offset", Fraction(-1, 10)),
    "--copy_audio": ("copy_audio", True),
    "--whole_frames": ("whole_frames", True),
    "--fps 30000/1001": ("fps", Fraction(30000, 1001)),
    "--deinterlace": ("deinterlace", True),
    "--report /report.json": ("report", Path("/report.json")),
    "--contact_sheet /sheet.png": ("contact_sheet", Path("/sheet.png")),
    "--overwrite": ("overwrite", True),
    "--resume": ("resume", True),
    "--unet_config_path /unet.yaml": ("unet_config", Path("/unet.yaml")),
    "--inference_ckpt_path /unet.pt": ("weights.unet", Path("/unet.pt")),
    "--checkpoint_dir /weights": ("weights.unet", Path("/weights/latentsync_unet.pt")),
    "--adapter /me.safetensors:0.5": ("weights.adapter", AdapterChoice(Path("/me.safetensors"), 0.5)),
    "--device cuda:1": ("device", "cuda:1"),
    "--precision bf16": ("precision", "bf16"),
    "--compile": ("compiled", True),
    "--batch 3": ("batch", "3"),
    "--detector yunet": ("detector", "yunet"),
    "--codec hevc": ("encoding.codec", "hevc"),
    "--crf 20": ("encoding.crf", 20),
    "--encoder_preset slow": ("encoding.preset", "slow"),
    "--pix_fmt yuv444p": ("encoding.pix_fmt", "yuv444p"),
    "--no_label": ("label", False),
    "--c2pa /cert.pem /key.pem": ("signer", Signer(Path("/cert.pem"), Path("/key.pem"))),
    "--commercial_only": ("commercial_only", True),
    "--max_hours 9": ("limits.held_seconds", 9 * 3600),
    "--max_megapixels 99": ("limits.pixels", 99 * 10**6),
}


def asked(*words):
    return make_request(parse_arguments([*BASE, *words]))


@pytest.mark.parametrize("said", FLAGS)
def test_a_flag_reaches_the_request(said):
    where, value = FLAGS[said]
    request = asked(*said.split())
    assert attrgetter(where)(request) == value
    assert attrgetter(where)(asked()) != value


def test_the_list_above_is_complete():
    known = {option for action in make_parser()._actions for option in action.option_strings}
    listed = {word.partition("=")[0] for said in FLAGS for word in said.split() if word.startswith("--")}
    assert known - NO_PART_OF_A_REQUEST == listed | {word for word in BASE if word.startswith("--")}


@pytest.mark.parametrize("said", FLAGS)
def test_the_command_that_goes_on_asks_for_the_same(said):
    parsed = parse_arguments([*BASE, *said.split()])
    program, command, *words = shlex.split(command_for(parsed))
    assert (program, command) == ("latentsync", "dub")
    assert make_request(parse_arguments(words)) == make_request(parsed)


@pytest.mark.parametrize(
    "said",
    ["--feather 0.5", "--expand 1", "--detail 2", "--enhance_strength=-1", "--max_yaw=-1", "--overlap 4 --compat 1.5"],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(said):
    with pytest.raises(ConfigError) as refused:
        asked(*said.split())
    assert refused.value.remedy

"""Names that programs outside this repository import, and the flags that they call: they stay as they are."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Module, name in it, and the parameters that it is called with by position.
NAMES = [
    ("latentsync.models.unet", "UNet3D", ["config"]),
    ("latentsync.models.unet", "UNet3D.forward", ["self", "sample", "timestep", "audio"]),
    ("latentsync.models.unet", "UNetConfig.from_dict", ["model"]),
    ("latentsync.models.syncnet", "StableSyncNet", ["config"]),
    ("latentsync.models.syncnet", "StableSyncNet.forward", ["self", "visual", "mel"]),
    ("latentsync.models.syncnet", "SyncNetConfig.from_dict", ["model"]),
    ("latentsync.checkpoint", "load_unet_weights", ["path"]),
    ("latentsync.features", "AudioEncoder.from_file", ["path"]),
    ("latentsync.features", "AudioEncoder.encode", ["self", "waveform"]),
    ("latentsync.audio.mel", "syncnet_mel", ["waveform"]),
    ("latentsync.face.align", "estimate_similarity", ["points", "resolution"]),
    ("latentsync.face.align", "align_face", ["pixels", "points_or_matrix", "resolution"]),
    ("latentsync.face.align", "paste_face", ["frame", "face", "matrix", "keep_mask"]),
    ("latentsync.face.mask", "load_mask", ["name", "resolution"]),
    ("latentsync.inference", "LipsyncPipeline.sync", ["self", "video", "waveform", "options", "tracks"]),
    ("latentsync.inference", "load_pipeline", ["weights", "settings"]),
    ("latentsync.config", "read_yaml", ["path"]),
]
FLAGS = {
    "scripts.inference": "video_path audio_path video_out_path unet_config_path inference_ckpt_path inference_steps "
    "guidance_scale seed enable_deepcache",
    "scripts.train_unet": "unet_config_path",
    "scripts.train_syncnet": "config_path",
    "eval.evaluate": "results truth source output setting face detector mask stride fvd_range fvd_first_frame seed "
    "workers auxiliary syncnet syncnet_config csim",
    "eval.inference_videos": "videos_dir audios_dir output pairing seed checkpoint_dir inference_ckpt_path "
    "unet_config_path preset inference_steps guidance_scale enable_deepcache inference_seed detector device compile",
}


@pytest.mark.parametrize(("module", "name", "parameters"), NAMES, ids=lambda value: str(value))
def test_a_name_is_where_it_was_and_takes_what_it_took(module, name, parameters):
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert list(inspect.signature(found).parameters)[: len(parameters)] == parameters


@pytest.mark.parametrize("module", FLAGS)
def test_a_command_keeps_its_flags(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f"--{flag}" for flag in FLAGS[module].split()} <= set(re.findall(r"--\w+", done.stdout))

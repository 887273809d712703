"""What a command has imported when it ends: libraries that take seconds are imported by what needs them, not before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASSETS, BUILTIN = ROOT / "assets", ROOT / "checkpoints" / "builtin"
NETWORKS = {"diffusers", "transformers", "torchvision", "whisper", "numba"}  # libraries of the networks
SLOW = NETWORKS | {"torch", "scipy", "gradio"}
CODE = """
import json, sys
from latentsync.cli.dub import main
try:
    code = main(sys.argv[1:])
except SystemExit as leaving:
    code = leaving.code
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def run(*arguments: str) -> tuple[int, set[str]]:
    """Exit code of the command line in a fresh process, and the top-level modules that are loaded then."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


def dry_run(tmp_path: Path, *more: str) -> tuple[int, set[str]]:
    """Of the sample, with the built-in models under the published names."""
    weights = tmp_path / "weights"
    (weights / "whisper").mkdir(parents=True)
    (weights / "latentsync_unet.pt").symlink_to(BUILTIN / "unet.safetensors")
    (weights / "whisper" / "tiny.pt").symlink_to(BUILTIN / "audio_encoder.pt")
    (weights / "vae").symlink_to(BUILTIN / "codec")
    files = ["--video_path", ASSETS / "sample_video.mp4", "--audio_path", ASSETS / "sample_audio.wav"]
    files += ["--video_out_path", tmp_path / "out.mp4", "--detector", ASSETS / "sample_faces.npz"]
    # "auto" would try the first layers of the network, once on a machine that multiplies in bfloat16.
    files += ["--checkpoint_dir", weights, "--precision", "fp32"]
    return run(*map(str, files), "--dry-run", *more)


def test_help_loads_nothing_that_takes_long():
    code, modules = run("--help")
    assert code == 0
    assert not modules & (SLOW | {"cv2", "av"})


@pytest.mark.parametrize(
    "wrong",
    [
        ["--video_path", "nowhere.mp4"],
        ["--audio_path", "nowhere.wav"],
        ["--video_out_path", "nowhere/out.mp4"],
        ["--checkpoint_dir", "nowhere"],
        ["--codec", "nonsense"],
        ["--guidance_scale", "nan"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_what_is_refused_is_refused_without_torch(tmp_path, wrong):
    code, modules = dry_run(tmp_path, *wrong)
    assert code not in (0, 1, 2)
    assert not modules & SLOW


def test_a_dry_run_loads_no_library_of_the_networks(tmp_path):
    code, modules = dry_run(tmp_path)
    assert code == 0
    assert "torch" in modules
    assert not modules & NETWORKS

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from latentsync.cli.preprocess import main
from latentsync.config import load_config
from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.preprocess.settings import FaceSettings, PreprocessSettings, SyncSettings
from latentsync.preprocess.steps.sequence import steps_of
from tests.preprocess.world import contents, draw_talk

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "preprocess.yaml"
PUBLISHED = [
    "resampled",
    "shot",
    "segmented",
    "high_resolution",
    "affine_transformed",
    "av_synced_3",
    "high_visual_quality",
]


def test_the_file_spells_out_the_defaults():
    assert load_config(CONFIG, PreprocessSettings) == PreprocessSettings()


def test_directories_are_named_as_published():
    assert [step.name for step in steps_of(PreprocessSettings())] == PUBLISHED


def test_a_setting_changes_its_own_step_and_all_after_it():
    before = PreprocessSettings()
    for changed, first in (
        (replace(before, segment_seconds=6.0), 0),  # step 2 puts key frames where segments begin
        (replace(before, faces=FaceSettings(min_side=200)), 3),
        (replace(before, sync=SyncSettings(max_offset=2)), 5),
        (replace(before, min_quality=50.0), 6),
        (replace(before, device="cpu", output_dir="elsewhere"), 7),
    ):
        pairs = zip(steps_of(before), steps_of(changed), strict=True)
        assert [one.settings != other.settings for one, other in pairs] == [i >= first for i in range(7)]


def test_the_command_runs_up_to_what_has_no_weights(tmp_path, capsys):
    draw_talk(tmp_path / "raw" / "a.mp4")
    command = ["--config_path", str(CONFIG), f"input_dir={tmp_path / 'raw'}", "--workers", "0"]
    values = [f"weights_dir={tmp_path}", "segment_seconds=1", "faces.min_side=30"]
    assert main([*command, *values]) == WeightsMissingError.exit_code
    message = capsys.readouterr().err
    for part in ("high_resolution", "face_landmarker.task", "koniq_pretrained.pkl", "latentsync weights"):
        assert part in message
    assert len(contents(tmp_path / "segmented")) == 2


def test_wrong_settings_are_named(tmp_path, capsys):
    assert main(["--config_path", str(CONFIG)]) == ConfigError.exit_code
    assert "input_dir" in capsys.readouterr().err
    assert main(["--config_path", str(CONFIG), f"input_dir={tmp_path}", "faces.size=3"]) == ConfigError.exit_code
    assert "size" in capsys.readouterr().err


def test_the_code_of_judges_and_of_ray_is_not_loaded_before_it_is_needed():
    """It takes longer than everything else at the start of a run, and of every worker."""
    code = (
        "import sys, latentsync.preprocess.engine.runner\n"
        "found = {'torchvision', 'scipy.signal', 'diffusers', 'onnxruntime', 'ray'} & set(sys.modules)\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

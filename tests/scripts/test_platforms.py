"""What the program needs has wheels for every platform that the README names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.pip_elsewhere import PLATFORMS

ROOT = Path(__file__).parents[2]
ONLY_SOURCE = "openai-whisper"  # pure Python, which needs no wheel


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("platform", PLATFORMS)
def test_all_packages_have_wheels(tmp_path, platform):
    core = tmp_path / "core.txt"
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    core.write_text("\n".join(line for line in lines if not line.startswith(ONLY_SOURCE)))
    parts = [str(path) for path in ROOT.glob("requirements-*.txt") if path.stem != "requirements-dev"]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.scripts.pip_elsewhere", platform, "install", "--dry-run", "--quiet"]
    command += ["--target", str(tmp_path / "x"), "--report", str(report), "-r", str(core)]
    command += [word for part in parts for word in ("-r", part)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {each["metadata"]["name"].lower() for each in json.loads(report.read_text())["install"]}
    assert "torch" in names
    assert len(names & {"decord", "decord2"}) == 1


def test_what_reads_training_clips_is_not_in_the_core():
    assert "decord" not in (ROOT / "requirements.txt").read_text()

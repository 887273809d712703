"""setup_env.sh, run and sourced, with a Python environment that only writes down what it is asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name}"))
    for name in ("bash", "zsh")
]
# bin/python of the environment: FAULTS names what does not work, TORCH what metadata finds.
PYTHON = """#!/usr/bin/env bash
here="$(dirname "$0")"
printf '%s\\n' "$*" | tr '\\n' ' ' >>"$here/log"; echo >>"$here/log"
case "$*" in
  *'import cv2'*) [ ! -e "$here/no-opencv" ] ;;
  *'"torch", "torchvision"'*) printf '%s' "${TORCH:-}" ;;
  *'metadata.version("opencv-python")'*) echo 5.0.0 ;;
  *opencv-python-headless==*) rm -f "$here/no-opencv" ;;
  *'pip'*' install '*)
    while [ "$1" != -c ]; do shift; done
    cp "$2" "$here/constraints"
    [ ! -e "$here/no-pip" ] ;;
  *download_checkpoints*) [ ! -e "$here/no-network" ] ;;
esac
"""
OF_THE_CALLER = ("VIRTUAL_ENV", "CONDA_PREFIX", "BASH_ENV", "LATENTSYNC_VENV", "LATENTSYNC_OFFLINE")
ACTIVATE = 'VIRTUAL_ENV="{venv}"; PATH="{venv}/bin:$PATH"; export VIRTUAL_ENV PATH\n'


class Clone:
    """A clone of the repository, as far as the set-up needs it, and the environment that it uses."""

    def __init__(self, root: Path) -> None:
        self.root, self.venv = root, root / ".venv"
        for path in (ROOT / "setup_env.sh", *ROOT.glob("requirements*.txt")):
            shutil.copy(path, root / path.name)
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin" / "python").write_text(PYTHON)
        (self.venv / "bin" / "python").chmod(0o755)
        (self.venv / "bin" / "activate").write_text(ACTIVATE.format(venv=self.venv))
        self.environment = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}

    def fail(self, what: str) -> None:
        (self.venv / "bin" / what).touch()

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment | variables, capture_output=True, text=True, timeout=300
        )

    def asked(self, word: str) -> list[str]:
        """What the environment's Python was asked to do, where ``word`` is in it."""
        log = self.venv / "bin" / "log"
        return [line.strip() for line in log.read_text().splitlines() if word in line] if log.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tmp_path / "a clone"
    root.mkdir()
    return Clone(root)


STATE = {"bash": "set +o; trap; shopt", "zsh": "setopt; trap; set -o"}
SOURCE = """
set -u; trap 'echo bye' EXIT; trap 'echo usr' USR1
before="$(STATE)"
source ./setup_env.sh ARGUMENTS; code=$?
[ "$before" = "$(STATE)" ] || echo "options or traps have changed"
set | grep '^_latentsync'
false; false
echo "status $code, active ${VIRTUAL_ENV:-none}, python $(command -v python)"
"""


def sourced(clone: Clone, shell: str, arguments: str = "", **variables: str) -> list[str]:
    """The lines of a shell that sources the set-up and goes on; its own startup files stay out."""
    script = SOURCE.replace("STATE", STATE[shell]).replace("ARGUMENTS", arguments)
    flags = ["--norc", "--noprofile"] if shell == "bash" else ["-f"]
    done = clone.run(shell, *flags, "-c", script, "name", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_sourced_it_activates_and_leaves_the_shell_as_it_was(clone, shell):
    python = clone.venv / "bin" / "python"
    assert sourced(clone, shell) == [f"status 0, active {clone.venv}, python {python}", "bye"]
    assert len(clone.asked(" install ")) == 1
    assert sourced(clone, shell)[0].startswith("status 0")
    assert len(clone.asked(" install ")) == 1, "the packages are there"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_failure_ends_no_shell_and_activates_nothing(clone, shell):
    clone.fail("no-pip")
    line, bye = sourced(clone, shell)
    assert line.startswith("status 1, active none")
    assert bye == "bye"


@pytest.mark.parametrize("shell", SHELLS)
def test_without_the_weights_the_environment_is_active_all_the_same(clone, shell):
    clone.fail("no-network")
    line, _ = sourced(clone, shell, "--checkpoints inference")
    assert line.startswith(f"status 1, active {clone.venv}")


@pytest.mark.parametrize("purpose", ["inference", "training", "data", "eval"])
def test_weights_are_fetched_for_a_purpose(clone, purpose):
    assert sourced(clone, "bash", f"--checkpoints {purpose} --variant 1.5")[0].startswith("status 0")
    assert f"-m scripts.download_checkpoints --for {purpose} --variant 1.5" in clone.asked("download_checkpoints")
    assert len(clone.asked("requirements-train")) == (purpose == "training")


@pytest.mark.parametrize("arguments", ["--checkpoints everything", "--checkpoints"])
def test_a_purpose_that_there_is_not(clone, arguments):
    assert sourced(clone, "bash", arguments)[0].startswith("status 1")
    assert clone.asked("") == []


def test_arguments_of_the_script_that_sources_it_are_not_meant(clone):
    (clone.root / "own.sh").write_text("source ./setup_env.sh\necho $? $1\n")
    done = clone.run("bash", "own.sh", "--python")
    assert done.stdout == "0 --python\n", done.stderr


def test_an_environment_that_is_active_is_used(clone):
    (clone.root / "own").mkdir()
    own = Clone(clone.root / "own").venv
    line, _ = sourced(clone, "bash", VIRTUAL_ENV=str(own))
    assert f"active {own}" in line
    assert clone.asked("") == []


@pytest.mark.parametrize("shell", ["bash", "sh", *SHELLS[1:]])
def test_run_it_says_which_python(clone, shell):
    done = clone.run(shell, "setup_env.sh", "--python")
    assert done.stdout == f"{clone.venv}/bin/python\n", done.stderr


def test_run_with_a_wrong_option(clone):
    done = clone.run("./setup_env.sh", "--pyhton")
    assert done.returncode == 1
    assert "--pyhton" in done.stderr
    assert clone.asked("") == []


def test_a_torch_that_is_there_stays(clone):
    clone.run("./setup_env.sh", TORCH="torch==2.5.1+cu121")
    assert (clone.venv / "bin" / "constraints").read_text() == "torch==2.5.1+cu121\n"


def test_where_nothing_goes_with_the_torch_that_is_there(clone):
    clone.fail("no-pip")
    done = clone.run("./setup_env.sh", TORCH="torch==2.9.0.dev1")
    assert done.returncode == 1
    assert "torch==2.9.0.dev1" in done.stderr
    assert "torchvision of that torch" in done.stderr


def test_each_purpose_installs_its_packages_once(clone):
    for mode in ("--python", "--training", "--tests", "--tests"):
        assert clone.run("./setup_env.sh", mode, PATH=f"{clone.venv}/bin:{os.environ['PATH']}").returncode == 0
    lists = [line.count("-r ") for line in clone.asked(" install ")]
    assert lists == [6, 1, 4]
    (clone.root / "requirements.txt").write_text("torch>=3\n")
    clone.run("./setup_env.sh", "--tests")
    assert len(clone.asked(" install ")) == 4


def test_without_libgl_opencv_comes_without_windows(clone):
    clone.fail("no-opencv")
    assert clone.run("./setup_env.sh").returncode == 0
    assert clone.asked("uninstall") != []
    assert "opencv-python-headless==5.0.0" in clone.asked("--no-deps")[0]
    clone.run("./setup_env.sh")
    assert len(clone.asked("uninstall")) == 1


class TestFaceDetector:
    def test_it_is_fetched_where_it_is_not(self, clone):
        clone.run("./setup_env.sh", "--python")
        assert len(clone.asked("--face-detector")) == 1

    def test_without_a_network_the_set_up_goes_on(self, clone):
        clone.fail("no-network")
        done = clone.run("./setup_env.sh", "--python")
        assert done.returncode == 0
        assert done.stderr.count("LATENTSYNC_OFFLINE") == 1

    def test_offline_it_is_left_out(self, clone):
        assert clone.run("./setup_env.sh", "--python", LATENTSYNC_OFFLINE="1").returncode == 0
        assert clone.asked("--face-detector") == []

    @pytest.mark.parametrize("detector", ["face_detection_yunet_2023mar.onnx", "yunet_n_dynamic.onnx"])
    def test_it_is_there(self, clone, detector):
        folder = clone.root / "checkpoints" / "auxiliary"
        folder.mkdir(parents=True)
        (folder / detector).touch()
        clone.run("./setup_env.sh", "--python")
        assert len(clone.asked("--face-detector")) == 1, "its landmarks are missing"
        (folder / "face_landmarker.task").touch()
        clone.run("./setup_env.sh", "--python")
        assert len(clone.asked("--face-detector")) == 1

"""The command `latentsync`: it finds the sub-command and says what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync import __main__ as command
from latentsync.cli import people as people_command
from latentsync.constants import VERSION
from latentsync.errors import NoFaceError, PackageMissingError
from latentsync.inference.job.people import VideoPeople, VideoPerson, View

ROOT = Path(__file__).parents[2]


def called(monkeypatch, capsys, *words):
    """Exit code, what was printed, what was said of errors."""
    monkeypatch.setattr(sys, "argv", ["latentsync", *words])
    with pytest.raises(SystemExit) as leaving:
        command.main()
    said = capsys.readouterr()
    return leaving.value.code, said.out, said.err


def test_an_overview(monkeypatch, capsys):
    code, printed, _ = called(monkeypatch, capsys, "--help")
    assert code == 0
    assert all(f"  {name} " in printed for name in command.COMMANDS)
    assert called(monkeypatch, capsys, "--version") == (0, f"latentsync {VERSION}\n", "")
    code, _, said = called(monkeypatch, capsys)
    assert code == 2 and "dub" in said


@pytest.mark.parametrize("words", [["nonsense"], ["--verbose", "dub"]])
def test_what_there_is_not(monkeypatch, capsys, words):
    code, _, said = called(monkeypatch, capsys, *words)
    assert code == 2 and "error:" in said


def test_every_command_has_a_module_and_every_script_calls_one():
    modules = {path.stem for path in (ROOT / "latentsync" / "cli").glob("[!_]*.py")}
    assert modules == {each.module for each in command.COMMANDS.values()}
    callers = [*(ROOT / "scripts").glob("[!_]*.py"), *(ROOT / "eval").glob("[!_]*.py"), ROOT / "gradio_app.py"]
    own = {"train_builtin", "make_sample"}  # tools of the repository
    for path in callers:
        if path.stem not in own:
            name = path.read_text().partition('run("')[2].partition('"')[0]
            assert name in command.COMMANDS, path


@pytest.mark.parametrize("name", ["page", "preprocess"])
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, capsys, name):
    missing = command.COMMANDS[name].extra
    raised = ModuleNotFoundError("No module named 'gradio.blocks'", name="gradio.blocks")

    def main(arguments):
        raise raised

    monkeypatch.setattr(f"latentsync.cli.{name}.main", main)
    code, _, said = called(monkeypatch, capsys, name)
    assert code == PackageMissingError.exit_code
    assert f"latentsync {name}` needs the package gradio" in said and f"requirements-{missing}.txt" in said


def test_a_module_of_ours_that_is_missing_is_a_fault_of_ours(monkeypatch):
    def main(arguments):
        raise ModuleNotFoundError("No module named 'latentsync.nothing'", name="latentsync.nothing")

    monkeypatch.setattr("latentsync.cli.dub.main", main)
    with pytest.raises(ModuleNotFoundError):
        command.run("dub", [])


def test_a_script_is_the_command():
    both = [
        subprocess.run([sys.executable, "-m", *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
        for words in (["scripts.licenses"], ["latentsync", "licenses"])
    ]
    assert both[0].stdout == both[1].stdout and "python -m latentsync licenses" in both[0].stdout


def test_people_are_listed_for_a_choice(monkeypatch, capsys, tmp_path):
    view = View(Fraction(0), np.array([100.0, 60, 140, 100]), np.zeros((160, 160, 3), np.uint8))
    somebody = VideoPerson([(Fraction(0), Fraction(3, 2)), (Fraction(3), Fraction(4))], 60, 40, 80, [view], view)
    monkeypatch.setattr("latentsync.inference.job.people.find_everybody", lambda *arguments: VideoPeople(members, 120))
    members = (somebody,)
    assert people_command.main(["in.mp4", "--contact_sheet", str(tmp_path / "people.png")]) == 0
    told = "person 1: 2.5 s (0.0-1.5, 3.0-4.0), face 40 to 80 px; --face 120,80@0.000\n"
    assert capsys.readouterr().out == told
    assert (tmp_path / "people.png").read_bytes()[1:4] == b"PNG"
    assert people_command.main(["in.mp4", "--json", str(tmp_path / "people.json")]) == 0
    assert capsys.readouterr().out == told
    assert people_command.main(["in.mp4", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == json.loads((tmp_path / "people.json").read_text())
    assert listed[0] == {
        **{"person": 1, "face": "120,80@0.000", "first_seconds": 0.0, "share_of_frames": 0.5},
        **{"stretches": [[0.0, 1.5], [3.0, 4.0]], "face_pixels": {"smallest": 40, "largest": 80}},
        "faces": [{"seconds": 0.0, "box": [100.0, 60.0, 140.0, 100.0]}],
    }
    members = ()
    assert people_command.main(["in.mp4"]) == NoFaceError.exit_code

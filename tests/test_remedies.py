"""What remedies and pages ask for exists: commands with their options, options of whatever shows them, files."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest

from latentsync.__main__ import COMMANDS
from latentsync.errors import LatentSyncError
from latentsync.terminal import for_terminal, report

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted({*COMMANDS, "train unet", "train syncnet", "data audit", "data make_manifest"} - {"train", "data"})
# Package -> the programs that show its errors; of the packages below, any program may.
SHOWN_BY = {
    "inference": ("dub", "dub-set"),
    "provenance": ("dub", "licenses"),
    "page": ("page",),
    "live": ("live serve", "live prepare"),
    "evaluation": ("evaluate", "fvd", "sync-confidence"),
    "preprocess": ("preprocess", "data audit", "data make_manifest"),
}
COMMAND = rf"\blatentsync ({'|'.join(sorted(PROGRAMS, key=len, reverse=True))})\b([^`]*)"
OF_DOCKER = {"--gpus", "--shm-size"}


def said(package: str) -> list[str]:
    """Every text of a package that may be a message: its string constants, f-strings with {} for what is put in."""
    texts = []
    for path in [*(ROOT / "latentsync" / package).rglob("*.py"), *(ROOT / "latentsync").glob(f"{package}.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values))
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documentation | inside
            ):
                texts.append(node.value)
    return [text for text in texts if "\n" not in text]  # scripts and style sheets of pages


PACKAGES = sorted(path.stem for path in (ROOT / "latentsync").iterdir() if path.name[0] not in "_.")


@cache
def options_of(program: str) -> frozenset[str]:
    """What ``--help`` lists."""
    name, *words = program.split()
    with redirect_stdout(StringIO()) as printed, pytest.raises(SystemExit) as leaving:
        import_module(f"latentsync.cli.{COMMANDS[name].module}").main([*words, "--help"])
    assert not leaving.value.code
    return frozenset(re.findall(r"--[a-zA-Z][\w-]*", printed.getvalue()))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_command_in_a_message_exists_with_its_options_and_can_be_copied(package):
    for text in said(package):
        for match in re.finditer(COMMAND, text):
            program, rest = match[1], match[2]
            assert text[match.start() - 1] == "`", f"not marked as a command: {text!r}"
            assert set(re.findall(r"--[a-zA-Z][\w-]*", rest)) <= options_of(program), text
        for module in re.findall(r"python -m ((?:scripts|eval|benchmarks)[\w.]*\w)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), text


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))])
def test_every_command_of_a_page_exists_with_its_options(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in re.finditer(COMMAND.replace("[^`]", "[^`#|\\n]"), text):
        known = options_of(match[1]) | (options_of("dub") if match[1] == "batch" else frozenset())
        assert set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", match[2])) <= known, match[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_option_in_a_message_is_one_of_the_program_that_shows_it(package):
    for text in said(package):
        if " " not in text:  # an argument that this program gives to another one
            continue
        own = re.sub(r"`(?!latentsync )[^`]*`", "", text)  # without commands of others
        unknown = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", own)) - OF_DOCKER
        named = [program for program, _ in re.findall(COMMAND, text)]
        for program in (*SHOWN_BY.get(package, PROGRAMS), *named):
            unknown -= options_of(program) if unknown else frozenset()
        assert not unknown, text


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_in_a_message_is_there(package):
    for text in said(package):
        for name in re.findall(r"(?<![\w/.}])(?:\./|configs/|docs/)[\w./]+\.(?:sh|yaml|md)", text):
            assert (ROOT / name).is_file(), text


def test_from_another_folder_commands_and_files_are_named_in_full(tmp_path, monkeypatch, capsys):
    remedy = "Run `latentsync licenses --dir x`, or see ./train_unet.sh and configs/unet/stage2.yaml; own.yaml"
    error = LatentSyncError("It failed.", remedy=remedy)
    monkeypatch.chdir(ROOT)
    assert report(error) == 1
    assert f"`{sys.executable} -m latentsync licenses --dir x`" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    report(error)
    said_there = capsys.readouterr().err
    command = said_there.partition("`")[2].partition("`")[0]
    folder, _, program = command.partition(" && ")
    assert shlex.split(folder) == ["cd", str(ROOT)]
    done = subprocess.run(shlex.split(program)[:-2] + ["--help"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0
    assert f"{ROOT}/train_unet.sh and {ROOT}/configs/unet/stage2.yaml; own.yaml" in said_there


def test_a_name_that_is_no_text_is_shown(tmp_path):
    assert for_terminal("a\udcff.mp4") == r"a\udcff.mp4"

"""The import table of docs/architecture.md, and the bans on what must not appear in the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"constants", "types", "errors", "config", "stream", "atomic", "levels", "runtime"}
ALLOWED = {
    "constants": set(),
    "errors": set(),
    "types": {"constants"},
    "config": {"errors", "atomic"},
    "stream": set(),
    "atomic": set(),
    "levels": set(),
    "runtime": {"errors"},
    "html_page": set(),
    "recipe": BASE,
    "models": BASE,
    "diffusion": BASE,
    "media": BASE,
    "audio": BASE,
    "checkpoint": BASE | {"models"},
    "face": BASE | {"checkpoint"},
    "features": BASE | {"models", "audio", "media", "checkpoint"},
    "losses": BASE | {"models"},
    "metrics": BASE | {"face", "audio", "checkpoint", "models", "media"},
    "evaluation": BASE
    | {"media", "audio", "face", "metrics", "models", "checkpoint", "data", "recipe", "html_page"},
    "data": BASE | {"media", "audio", "face", "features"},
    "inference": BASE
    | {"audio", "face", "features", "models", "diffusion", "media", "checkpoint", "recipe"},
    "page": BASE | {"inference", "media", "diffusion", "face"},  # face: the syntax that says who speaks
    "preprocess": BASE | {"media", "audio", "face", "metrics", "data", "checkpoint", "html_page"},
    "training": BASE
    | {"data", "features", "losses", "models", "diffusion", "metrics", "inference", "checkpoint", "recipe", "audio"}
    | {"face", "media"},
}
SOURCES = sorted((ROOT / "latentsync").rglob("*.py"))
PYTHON = [p for p in ROOT.rglob("*.py") if not {".venv", ".git"} & set(p.relative_to(ROOT).parts)]


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(path: Path) -> str:
    return path.relative_to(ROOT / "latentsync").with_suffix("").parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_table(path):
    package = package_of(path)
    if package == "__init__":
        return
    assert package in ALLOWED, f"{package} is not in the table: add a row with its reason to docs/architecture.md"
    for name in imported_modules(path):
        assert name.split(".")[0] not in {"scripts", "eval", "tests"}, f"the library imports a caller: {name}"
        if name.startswith("latentsync.") and name != "latentsync.__version__":
            target = name.split(".")[1]
            assert target == package or target in ALLOWED[package], f"{package} may not import {target}"


def test_models_touch_no_files_and_print_nothing():
    for path in (ROOT / "latentsync" / "models").rglob("*.py"):
        assert not imported_modules(path) & {"os", "pathlib", "logging", "io", "shutil", "pathlib.Path"}, path
        assert not re.search(r"\b(open|print)\(", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("caller", ["scripts", "eval"])
def test_callers_do_not_import_each_other(caller):
    for path in (ROOT / caller).glob("*.py"):
        names = {name.split(".")[0] for name in imported_modules(path)}
        assert not names & {"scripts", "eval", "tests", "gradio_app"}, path


def test_no_shell_strings_and_no_unsafe_loading():
    shell, load = re.compile(r"shell\s*=\s*True"), re.compile(r"torch\.load\(")
    for path in PYTHON:
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert not shell.search(text), f"{path}: shell strings are unsafe with user paths"
        for line in text.splitlines():
            assert not load.search(line) or "weights_only=True" in line, f"{path}: {line.strip()}"


@pytest.mark.parametrize(
    "module", ["types", "errors", "constants", "config", "stream", "inference", "checkpoint", "face"]
)
def test_light_modules_load_no_framework(module):
    code = (
        f"import sys, latentsync.{module}\n"
        "heavy = {'torch', 'cv2', 'av', 'diffusers', 'transformers', 'omegaconf'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} loaded' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

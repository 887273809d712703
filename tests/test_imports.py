"""The import table of docs/architecture.md, no imports in a circle, and what must not appear in the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "latentsync").rglob("*.py"))
PYTHON = [p for p in ROOT.rglob("*.py") if not {".venv", ".git"} & set(p.relative_to(ROOT).parts)]


def read_table() -> dict[str, set[str]]:
    """Package -> the packages that it may import, from the page; the first row is the ground floor, open to all."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Packages, and what each may import\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    (ground, _, among_itself), *packages = rows[1:-1]  # between the heading and the callers
    assert among_itself == "each other"
    floor = set(ground.strip("`").split())
    names = {name.strip("`"): set(cells) - {"–"} for name, _, text in packages for cells in [text.split(", ")]}
    for name, allowed in names.items():
        assert allowed <= names.keys(), f"{name} may import {allowed - names.keys()}, which have no row"
    return dict.fromkeys(floor, floor) | {name: floor | allowed for name, allowed in names.items()}


ALLOWED = read_table()


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_name(path: Path) -> str:
    """'latentsync.face.align'; of a package the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}
FACES = {"latentsync", "latentsync.__main__"}  # what a program and a user see of it all


def imports_of(path: Path) -> set[str]:
    """The modules of the library that a file imports anywhere: at its top, in functions, for types."""
    found = set()
    for name in imported_modules(path):
        module = name if name in MODULES else name.rpartition(".")[0]  # else the name of something inside a module
        if module in MODULES and module != module_name(path):
            found.add(module)
    return found


def package_of(module: str) -> str:
    return module.split(".")[1]


def room_of(module: str) -> str:
    """The folder of a module inside its package; '.' for files beside such folders."""
    is_room = MODULES[module].name == "__init__.py"
    inside = module.split(".")[2 : None if is_room else -1]
    return inside[0] if inside else "."


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names along a circle of imports, empty if there is none."""
    finished: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in finished:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, [*way, name]):
                    return found
            finished.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_table(path):
    names = imported_modules(path)
    callers = {name for name in names if name.split(".")[0] in {"scripts", "eval", "benchmarks", "tests", "gradio_app"}}
    assert not callers, f"the library imports a caller: {callers}"
    module = module_name(path)
    if module in FACES:
        return
    package = package_of(module)
    assert package in ALLOWED, f"{package} is not in the table: add a row with its reason to docs/architecture.md"
    for name in imports_of(path) - {"latentsync"}:
        target = package_of(name)
        assert target == package or target in ALLOWED[package], f"{package} may not import {target}"


def test_nothing_is_in_the_table_that_is_not_in_the_house():
    assert ALLOWED.keys() == {package_of(module) for module in MODULES.keys() - FACES}


def test_no_modules_import_in_a_circle():
    assert circle({module: imports_of(path) for module, path in MODULES.items()}) == []


def test_no_packages_import_in_a_circle():
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if module not in FACES:
            targets = {package_of(other) for other in imports_of(path) - {"latentsync"}}
            graph.setdefault(package_of(module), set()).update(targets - {package_of(module)})
    assert circle(graph) == []


@pytest.mark.parametrize("package", sorted({package_of(module) for module in MODULES if module.count(".") > 2}))
def test_no_rooms_of_a_package_import_in_a_circle(package):
    inside = [module for module in MODULES if module != "latentsync" and package_of(module) == package]
    graph: dict[str, set[str]] = {}
    for module in inside:
        targets = {room_of(other) for other in imports_of(MODULES[module]) if other in inside}
        graph.setdefault(room_of(module), set()).update(targets - {room_of(module)})
    assert circle(graph) == []


def test_a_circle_is_found():
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_models_touch_no_files_and_print_nothing():
    for path in (ROOT / "latentsync" / "models").rglob("*.py"):
        assert not imported_modules(path) & {"os", "pathlib", "logging", "io", "shutil", "pathlib.Path"}, path
        assert not re.search(r"\b(open|print)\(", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("caller", ["scripts", "eval"])
def test_callers_do_not_import_each_other(caller):
    for path in (ROOT / caller).glob("*.py"):
        names = {name.split(".")[0] for name in imported_modules(path)}
        assert not names & {"scripts", "eval", "benchmarks", "tests", "gradio_app"}, path


def test_nothing_that_only_unix_has_is_imported_at_the_top():
    unix = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
    for path in PYTHON:
        if "tests" not in path.relative_to(ROOT).parts or path.name == "conftest.py":
            top = ast.parse(path.read_text(encoding="utf-8")).body
            names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
            assert not names & unix, f"{path} cannot be imported on Windows"


def test_no_shell_strings_and_no_unsafe_loading():
    shell, load = re.compile(r"shell\s*=\s*True"), re.compile(r"torch\.load\(")
    for path in PYTHON:
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert not shell.search(text), f"{path}: shell strings are unsafe with user paths"
        for line in text.splitlines():
            assert not load.search(line) or "weights_only=True" in line, f"{path}: {line.strip()}"


LIGHT = "types errors __main__ terminal places extras constants config stream atomic levels recipe inference checkpoint"


@pytest.mark.parametrize("module", [*LIGHT.split(), "face", "cli"])
def test_light_modules_load_no_framework(module):
    code = (
        f"import sys, latentsync.{module}\n"
        "heavy = {'torch', 'cv2', 'av', 'diffusers', 'transformers', 'omegaconf'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} loaded' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""A wheel, built and unpacked: everything that the program asks for is in it, and it works away from the repository."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from latentsync.cli import serve
from latentsync.constants import VERSION
from latentsync.doctor.weights import BUILTIN_FILES
from latentsync.extras import requirements

ROOT = Path(__file__).parents[1]
INFO = f"latentsync-{VERSION}.dist-info"
NOT_SHIPPED = ("tests/", "scripts/", "eval/", "benchmarks/", "checkpoints/")
LIMIT = 44 * 2**20  # bytes; the built-in models are 38 MB of it


def has(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not (has("hatchling") and has("hatch-requirements-txt")), reason="builds a wheel: see requirements-dev.txt"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("site packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in ``folder``, where the unpacked wheel is all that there is of this program, and no network."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("LATENTSYNC_")}
    surroundings |= {"PYTHONPATH": str(site), "LATENTSYNC_HOME": str(folder / "home"), "OMP_NUM_THREADS": "2"}
    surroundings |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"} | variables
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)


def test_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name.partition("latentsync/shipped/")[2] for name in names}
    for folder in ("configs", "assets", "docs", "checkpoints/builtin"):
        command = ["git", "ls-files", "-z", folder]
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert {name for name in tracked.split("\0") if name} <= shipped
    assert {"latentsync/py.typed", f"{INFO}/entry_points.txt"} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "latentsync").rglob("*.py")} <= names
    assert not [name for name in names if name.startswith(NOT_SHIPPED)]
    assert wheel.stat().st_size < LIMIT


def test_an_image_is_built_of_what_the_wheel_is_made_of():
    """The Dockerfile copies what the build reads, and .dockerignore lets that in and nothing else."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*" and copied == {line[1:] for line in ignored if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "pyproject.toml"} <= copied
    assert all(list(ROOT.glob(name)) for name in copied)
    (command,) = [json.loads(line[4:]) for line in lines if line.startswith("CMD ")]
    parsed = serve.parse_arguments(command[1:])
    assert command[0] == "serve" and parsed.host == "0.0.0.0" and parsed.keys is not None


def test_its_metadata_say_what_the_requirement_files_say(wheel):
    with zipfile.ZipFile(wheel) as archive:
        said = email.message_from_bytes(archive.read(f"{INFO}/METADATA"))
        entries = archive.read(f"{INFO}/entry_points.txt").decode()
    assert said["Version"] == VERSION and "latentsync = latentsync.__main__:main" in entries
    lines = said.get_all("Requires-Dist")
    core = {line for line in lines if "extra ==" not in line}
    assert {line.replace(" ", "") for line in core} == {line.replace(" ", "") for line in requirements()}
    extras = {"page", "serve", "data", "train", "eval", "cluster", "s3", "gs", "c2pa", "otio", "live", "all", "dev"}
    assert set(said.get_all("Provides-Extra")) == extras
    for part in ("gradio", "ray", "pytest", "playwright", "ruff", "decord", "lpips", "tensorboard"):
        assert any(line.startswith(part) and "extra ==" in line for line in lines)
        assert not any(line.startswith(part) for line in core)


PLACES = """
import json, sys
from latentsync import extras, places
from latentsync.config import read_yaml
from latentsync.terminal import for_terminal
assert places.INSTALLED and "torch" not in sys.modules
for name in %r:
    assert (places.BUILTIN / name).is_file(), name
for path in (places.SAMPLE_VIDEO, places.SAMPLE_AUDIO, places.SAMPLE_FACES, places.CONFIGS / "preprocess.yaml"):
    assert path.is_file(), path
assert read_yaml("configs/unet/stage1.yaml")["data"]["resolution"] == 256
print(places.WEIGHTS, places.cache_folder(), sep="\\n")
print(json.dumps([extras.requirements("page"), extras.requirements("train")]))
print(for_terminal("`latentsync weights --list` " + extras.install_command("page") + " see docs/data.md"))
"""


def test_where_it_finds_and_puts_files(site, tmp_path):
    done = run(site, tmp_path, "-c", PLACES % (BUILTIN_FILES,))
    assert done.returncode == 0, done.stderr
    weights, cache, extras, said = done.stdout.splitlines()
    assert weights == str(tmp_path / "home" / "checkpoints") and cache == str(tmp_path / "home" / "cache")
    assert f"`{sys.executable} -m latentsync weights --list`" in said
    assert f"`{sys.executable} -m pip install 'latentsync[page]'`" in said
    assert f"see {site}/latentsync/shipped/docs/data.md" in said
    page, train = json.loads(extras)
    assert page == ["gradio>=6.0"] and "decord>=0.6.0; (sys_platform" in " ".join(train)


def test_its_commands_say_how_they_are_called(site, tmp_path):
    done = run(site, tmp_path, "-m", "latentsync", "dub", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: latentsync dub "), done.stderr
    weights = run(site, tmp_path, "-m", "latentsync", "weights", "--list")
    assert weights.returncode == 0 and "latentsync_unet.pt" in weights.stdout, weights.stderr
    code = "import sys; sys.modules['gradio'] = None; from latentsync.__main__ import run; run('page', [])"
    page = run(site, tmp_path, "-c", code)
    assert page.returncode == 4
    assert "gradio" in page.stderr and f"{sys.executable} -m pip install 'latentsync[page]'" in page.stderr


def test_it_dubs_the_sample_in_another_folder(site, tmp_path):
    options = ["--sample", "--excerpt", "0", "0.04", "--preset", "preview", "--quiet"]
    done = run(site, tmp_path, "-m", "latentsync", "dub", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sample.mp4").stat().st_size > 1000
    assert not list(site.rglob("*.npz.tmp"))
    assert {path.name for path in tmp_path.iterdir()} <= {"sample.mp4", "home"}  # what a probe found is cached at home

"""An installation with one fault each: the doctor names it, with a command."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import av
import psutil
import pytest

from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.files import fingerprint
from latentsync.cli.doctor import main
from latentsync.doctor import machine
from latentsync.doctor.finding import Finding, Grade, examine
from latentsync.places import BUILTIN
from latentsync.runtime import device, shared_memory

GIB = 2**30
NO_BUNDLE = b"PK\x03\x04 cut short"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint folder in which nothing is wrong, on a machine in which nothing is."""
    weights = tmp_path / "weights"
    (weights / "auxiliary").mkdir(parents=True)
    (weights / "whisper").mkdir()
    (weights / "vae").mkdir()
    for name in ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip"):
        shutil.copy(BUILTIN / "audio_encoder.pt", weights / "auxiliary" / name)
    shutil.copy(BUILTIN / "unet.safetensors", weights / "latentsync_unet.pt")
    shutil.copy(BUILTIN / "audio_encoder.pt", weights / "whisper" / "tiny.pt")
    for path in (BUILTIN / "codec").iterdir():
        shutil.copy(path, weights / "vae")
    # The stand-ins above are no published files: their checksums are not compared here.
    monkeypatch.setattr("latentsync.doctor.weights.HASHED", 0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    monkeypatch.setattr(machine, "_CONTAINER", (tmp_path / "max", tmp_path / "current"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * GIB))
    monkeypatch.setattr(device, "unusable_gpu", lambda: None)
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return weights


def examined(folder, capsys, *more):
    """Exit code, and what is shown."""
    code = main(["--checkpoint_dir", str(folder), *more])
    return code, capsys.readouterr().out


def faults(text):
    """Subject -> sentence and remedy of every fault."""
    found = re.findall(r"^FAULT ([^:]*): (.*(?:\n      -> .*)?)", text, re.MULTILINE)
    return dict(found)


def test_nothing_is_wrong(folder, capsys):
    code, text = examined(folder, capsys)
    assert (code, faults(text)) == (0, {}), text
    assert "Faults: 0." in text


def missing_package(folder, monkeypatch):
    def version(name):
        if name == "diffusers":
            raise metadata.PackageNotFoundError(name)
        return "0.9" if name == "scipy" else "999"

    monkeypatch.setattr(metadata, "version", version)
    return "packages", "diffusers, scipy 0.9|scipy 0.9.*diffusers", r"setup_env\.sh`"


def no_libgl(folder, monkeypatch):
    broken = folder.parent / "broken" / "cv2"
    broken.mkdir(parents=True)
    cause = "libGL.so.1: cannot open shared object file"
    (broken / "__init__.py").write_text(f"raise ImportError({cause!r})")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cv2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(broken.parent))
    return "OpenCV", cause, r"setup_env\.sh`"


def no_codec(folder, monkeypatch):
    def codec(name, mode):
        if name in ("libx264", "av1"):
            raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", codec)
    return "codecs", "libx264, av1", "pip install .*av`"


def old_driver(folder, monkeypatch):
    found = device.Machine("2.14.1", "13.0", (), present=True, driver="535.183.01")
    monkeypatch.setattr(device, "unusable_gpu", lambda: device.fault_of(found, 0, lambda index: None))
    return "GPU", r"535\.183\.01.* too old", "Update the driver"


def old_gpu(folder, monkeypatch):
    found = device.Machine("2.14.1", "13.0", ("sm_75", "sm_90"), (device.Gpu("GTX 1080", (6, 1)),))
    monkeypatch.setattr(device, "unusable_gpu", lambda: device.fault_of(found, 0, lambda index: None))
    return "GPU", r"6\.1", "cu126"


def damaged_weights(folder, monkeypatch):
    path = folder / "whisper" / "tiny.pt"
    write_sidecar(path, WeightsCard(kind="whisper", fingerprint=fingerprint(path)))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    return "weights", "not the file that its card", r"weights --only whisper/tiny\.pt"


def weights_cut_short(folder, monkeypatch):
    (folder / "auxiliary" / "face_landmarker.task").write_bytes(NO_BUNDLE)
    return "weights", r"face_landmarker\.task is cut short", r"--only auxiliary/face_landmarker\.task"


def half_of_the_weights(folder, monkeypatch):
    (folder / "whisper" / "tiny.pt").unlink()
    return "weights", r"not whisper/tiny\.pt", "--for inference"


def no_detector(folder, monkeypatch):
    (folder / "auxiliary" / "s3fd-619a316812.pth").unlink()
    return "face detector", "not here", "--face-detector --dir "


def little_memory(folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=GIB))
    return "memory", r"1\.0 GiB", "`ps "


def small_container(folder, monkeypatch):
    for path, value in zip(machine._CONTAINER, (2 * GIB, GIB), strict=True):
        path.write_text(f"{value}\n")
    return "memory", r"1\.0 GiB", "`ps "


def full_disk(folder, monkeypatch):
    temporary = tempfile.gettempdir()
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=GIB if str(path) == temporary else 100 * GIB)
    )
    return "disk", r"1\.0 GiB free", "export TMPDIR="


FAULTS = [
    missing_package, no_libgl, no_codec, old_driver, old_gpu, damaged_weights, weights_cut_short, half_of_the_weights,
    no_detector, little_memory, small_container, full_disk,
]  # fmt: skip


@pytest.mark.parametrize("inject", FAULTS, ids=lambda each: each.__name__)
def test_a_fault_is_named_with_the_command_that_mends_it(folder, monkeypatch, capsys, inject):
    subject, words, remedy = inject(folder, monkeypatch)
    code, text = examined(folder, capsys)
    assert code == 1
    found = faults(text)
    assert set(found) == {subject}, text
    said, _, command = found[subject].partition("\n")
    assert re.search(words, said), said
    assert re.search(remedy, command), command


def test_little_shared_memory_is_a_note(folder, monkeypatch, capsys):
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", folder)
    usage = shutil.disk_usage
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 2**20) if path == folder else usage(path)
    )
    code, text = examined(folder, capsys)
    assert code == 0
    assert re.search(r"note  shared memory: 64 MiB .*\n.*--shm-size", text)


def test_large_files_are_hashed_when_asked(folder, capsys):
    code, text = examined(folder, capsys, "--verify")
    assert code == 1
    assert "SHA-256" in faults(text)["weights"]


def test_without_any_package_it_says_which_are_missing():
    root = Path(__file__).parents[2]
    command = [sys.executable, "-S", "-m", "latentsync", "doctor"]  # -S: no folder of packages
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "psutil" in faults(done.stdout)["packages"] and "shared memory: " in done.stdout


def test_an_old_python_is_named_before_anything_is_imported(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "argv", ["doctor"])
    monkeypatch.setitem(sys.modules, "latentsync", None)
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "doctor.py"), run_name="__main__")
    assert leaving.value.code == 1
    assert "too old" in capsys.readouterr().out


def test_a_check_that_fails_does_not_hide_the_others():
    def broken():
        raise ZeroDivisionError("a bug")

    def lacking():
        raise ImportError("no torch")

    fine = Finding("c", Grade.GOOD, "fine.")
    grades = [each.grade for each in examine({"a": broken, "b": lacking, "c": lambda: [fine]})]
    assert grades == [Grade.FAULT, Grade.LIMIT, Grade.GOOD]
    assert [each.grade for each in examine({"b": lacking})] == [Grade.FAULT]

"""``python -m scripts.download_checkpoints``"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from latentsync.checkpoint.registry import KNOWN_FILES, HubFile, WebFile, files_for
from latentsync.cli import weights as script
from tests.checkpoint.material import LFS_POINTER, save, small_unet
from tests.checkpoint.mirror import Mirror, Served

ROOT = Path(__file__).parents[2]


def test_list_of_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert script.main(["--list", "--dir", str(tmp_path / "none")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["file", "state", "size"]
    assert any(line.startswith("latentsync_unet.pt") and "missing" in line for line in lines)
    assert not (tmp_path / "none").exists()


def test_list_says_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "latentsync_unet.pt").write_bytes(LFS_POINTER)
    assert script.main(["--list", "--verify", "--dir", str(tmp_path)]) == 12
    captured = capsys.readouterr()
    assert "Git-LFS pointer" in captured.out
    assert "Run this again without --list" in captured.err


def test_import_and_list(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = save(tmp_path / "latentsync_unet.pt", small_unet().state_dict())
    folder = str(tmp_path / "checkpoints")
    assert script.main(["--import", str(source), "--variant", "1.5", "--dir", folder]) == 0
    assert script.main(["--list", "--verify", "--variant", "1.5", "--dir", folder]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("latentsync_unet.pt"))
    assert "present" in row
    assert "OpenRAIL++" in row


@pytest.mark.parametrize(
    ("pin", "revision"),
    [("v2", "v2"), ("ByteDance/LatentSync-1.5=v3", "v3"), ("stabilityai/sd-vae-ft-mse=v4", "main")],
)
def test_a_refused_download(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture, pin: str, revision: str
) -> None:
    address = f"/ByteDance/LatentSync-1.5/resolve/{revision}/latentsync_unet.pt"
    mirror.files[address] = Served(b"", status=403)
    arguments = ["--variant", "1.5", "--only", "latentsync_unet.pt", "--dir", str(tmp_path), "--revision", pin]
    assert script.main(arguments) == 14
    assert [path for _, path, _ in mirror.requests] == [address]
    error = capsys.readouterr().err
    assert "answers 403 (Forbidden)" in error
    assert "Accept the licence" in error


@pytest.mark.parametrize("pin", ["ByteDance/LatentSync1.5=v3", "stabilityai/sd-vae-ft-mse=", ""])
def test_a_pin_that_would_pin_nothing(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture, pin: str) -> None:
    assert script.main(["--dir", str(tmp_path), "--revision", pin]) == 3
    assert mirror.requests == []
    assert "ByteDance/LatentSync-1.5" in capsys.readouterr().err


def test_purposes_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(script, "download", lambda wanted, folder, revisions: asked.append(wanted))
    script.main(["--dir", str(tmp_path)])
    script.main(["--dir", str(tmp_path), "--for", "data", "--for", "eval", "--variant", "1.0"])
    assert asked == [files_for("1.6", ("inference",)), files_for("1.0", ("data", "eval"))]


def free_detector(monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> dict[str, bytes]:
    """The two files of the free face detector by the names that the hub has them under, with small contents instead.

    Addresses outside the hub lead to the mirror as well, which has nothing there.
    """
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("face_landmarks_detector.tflite", b"network")
    contents = {"face_detection_yunet_2023mar.onnx": b"\x08network", "face_landmarker.task": bundle.getvalue()}
    files = []
    for known in KNOWN_FILES:
        name = Path(known.target).name
        if name in contents:
            hub = next(source for source in known.sources if isinstance(source, HubFile))
            mirror.files[f"/{hub.repository}/resolve/main/{hub.path}"] = Served(contents[name])
            sources = tuple(s if isinstance(s, HubFile) else WebFile(f"{mirror.url}/elsewhere") for s in known.sources)
            known = replace(known, sources=sources, size=None, sha256=sha256(contents[name]).hexdigest())
        files.append(known)
    monkeypatch.setattr(script, "KNOWN_FILES", tuple(files))
    return contents


def test_the_free_face_detector_comes_from_the_mirror_in_one_line(
    monkeypatch: pytest.MonkeyPatch, mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    contents = free_detector(monkeypatch, mirror)
    assert script.main(["--face-detector", "--dir", str(tmp_path)]) == 0
    assert {name: (tmp_path / "auxiliary" / name).read_bytes() for name in contents} == contents
    assert not [path for _, path, _ in mirror.requests if "elsewhere" in path], "a mirror goes before other addresses"
    (line,) = capsys.readouterr().out.splitlines()
    assert "MIT" in line and "Apache-2.0" in line
    asked = len(mirror.requests)
    assert script.main(["--face-detector", "--dir", str(tmp_path)]) == 0
    assert len(mirror.requests) == asked, "it is there"


def test_another_file_in_place_of_the_free_face_detector(
    monkeypatch: pytest.MonkeyPatch, mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    free_detector(monkeypatch, mirror)
    for served in mirror.files.values():
        served.content += b" "
    assert script.main(["--face-detector", "--dir", str(tmp_path)]) == 14
    assert "SHA-256" in (said := capsys.readouterr().err) and "\n  -> " in said
    assert not (tmp_path / "auxiliary" / "face_detection_yunet_2023mar.onnx").exists()


def test_a_yunet_that_was_copied_by_hand_serves(
    monkeypatch: pytest.MonkeyPatch, mirror: Mirror, tmp_path: Path
) -> None:
    free_detector(monkeypatch, mirror)
    (tmp_path / "auxiliary").mkdir()
    (tmp_path / "auxiliary" / "yunet_n_dynamic.onnx").write_bytes(b"\x08 mine")
    assert script.main(["--face-detector", "--dir", str(tmp_path)]) == 0
    assert not any("yunet" in path for _, path, _ in mirror.requests)


def test_weights_go_to_the_same_folder_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert script.parse_arguments([]).dir == ROOT / "checkpoints"


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("mine")
    assert script.main(["--dir", str(tmp_path / "file" / "checkpoints")]) == 50
    assert "--dir" in capsys.readouterr().err


def test_an_interruption_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "download", interrupted)
    assert script.main([]) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = "import sys, latentsync.cli.weights, latentsync.checkpoint; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment).returncode == 0

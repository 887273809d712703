"""The command `latentsync live`: a video becomes a person, and people are served until Ctrl-C."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentsync.cli import live
from latentsync.errors import ConfigError, NoFaceError
from latentsync.face.detections_file import write_detections
from latentsync.inference.weights import WeightPaths
from latentsync.live.person import load_person
from latentsync.live.server import app
from latentsync.media.writer import write_video
from tests.inference.world import ArrayFrame, DrawnVideo, KnownFaces
from tests.live.plain import OPTIONS, plain_pipeline


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    video = DrawnVideo(9, width=160, height=160, face=70.0)
    write_video(folder / "in.mp4", video.frames(), video.info)
    known = KnownFaces(video)
    write_detections(folder / "faces.npz", {k: known.detect([ArrayFrame.of(video.draw(k))])[0] for k in range(9)})
    write_detections(folder / "none.npz", dict.fromkeys(range(9), ()))
    return folder


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "load", lambda parsed: (plain_pipeline(), OPTIONS, WeightPaths.choose(None)))


def prepare(folder: Path, person: Path, faces: str) -> int:
    return live.main(["prepare", str(folder / "in.mp4"), str(person), "--detector", str(folder / faces)])


def test_a_video_becomes_a_person(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(drawn, tmp_path / "anna.lsp", "faces.npz") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'anna.lsp'}: 9 frames, 9 with the face.\n"
    assert len(load_person(tmp_path / "anna.lsp").known) == 9


def test_a_video_without_a_face_leaves_nothing(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(drawn, tmp_path / "anna.lsp", "none.npz") == NoFaceError.exit_code
    assert "face" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_people_are_served_until_ctrl_c(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(drawn, tmp_path / "anna.lsp", "faces.npz")
    (tmp_path / "key.txt").write_text("correct horse battery\n")
    served = []

    @contextmanager
    def serving(studio, *, host, port, allow_hosts):
        served.append((list(studio.people), studio.limits.sessions, studio.limits.key, host, port, allow_hosts))
        yield "http://here:1"

    def interrupted(event: threading.Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "serving", serving)
    monkeypatch.setattr(threading.Event, "wait", interrupted)
    words = ["--key_file", str(tmp_path / "key.txt"), "--host", "0.0.0.0", "--port", "1", "--sessions", "2"]
    assert live.main(["serve", str(tmp_path), *words, "--allow_host", "live.example"]) == 0
    assert served == [(["anna"], 2, "correct horse battery", "0.0.0.0", 1, ["live.example"])]
    assert "http://here:1" in capsys.readouterr().out


@pytest.mark.parametrize(("key", "said"), [(None, "cannot be read"), ("short", "holds no key")])
def test_a_key_file_without_a_key(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key, said) -> None:
    prepare(drawn, tmp_path / "anna.lsp", "faces.npz")
    if key is not None:
        (tmp_path / "key.txt").write_text(key)
    code = live.main(["serve", str(tmp_path), "--key_file", str(tmp_path / "key.txt")])
    assert code == ConfigError.exit_code and said in capsys.readouterr().err

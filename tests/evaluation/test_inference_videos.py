"""A set of dubs: one that fails ends no other, and what is there is known by what it was made of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from latentsync.cli import dub_set
from latentsync.errors import NoFaceError
from latentsync.evaluation.recordings import report_beside
from latentsync.inference.job import dub as dub_module


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b/b", "c"):
        for kind, suffix in (("videos", ".mp4"), ("audios", ".wav")):
            path = tmp_path / kind / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{kind} {name}")
    return tmp_path


@pytest.fixture
def dubbed(monkeypatch):
    """Names of the results that a stand-in for the dub has made, and a hook that may raise."""
    made = SimpleNamespace(names=[], networks=[], before=lambda name: None)

    def dub(request, *, networks):
        made.networks.append(networks)
        made.before(request.output.stem)
        assert request.report == report_beside(request.output)
        made.names.append(request.output.stem)
        request.output.write_bytes(b"result")
        return SimpleNamespace(wall_seconds=1.0)

    monkeypatch.setattr(dub_module, "dub", dub)
    return made


def run(folders, *more):
    arguments = ["--videos_dir", folders / "videos", "--audios_dir", folders / "audios", "--output", folders / "out"]
    return dub_set.main([*map(str, arguments), "--pairing", "name", *more])


@pytest.mark.parametrize("error", [NoFaceError("b has no face."), ValueError("unforeseen")])
def test_a_job_that_fails_is_named_and_the_rest_is_done(folders, dubbed, capsys, error):
    def fail(name):
        if name == "b":
            raise error

    dubbed.before = fail
    assert run(folders) == 1
    assert dubbed.names == ["a", "c"]
    said = capsys.readouterr().out
    assert f"b/b: failed: {'' if isinstance(error, NoFaceError) else 'ValueError: '}{error}" in said
    assert "2 of 3 done, 1 failed" in said
    kept = dubbed.networks[0] is dubbed.networks[2]
    assert kept == isinstance(error, NoFaceError), "after a fault of the program nothing is trusted"


def test_what_is_there_of_the_same_is_left(folders, dubbed):
    assert run(folders) == 0
    assert run(folders) == 0
    assert sorted(dubbed.names) == ["a", "b", "c"]


def other_audio(folders):
    (folders / "audios" / "a.wav").write_text("changed")


def other_video(folders):
    (folders / "videos" / "a.mp4").write_text("changed")


def result_removed(folders):
    (folders / "out" / "results" / "a.mp4").unlink()


def result_of_unknown_origin(folders):
    (folders / "out" / "made" / "a.json").unlink()


@pytest.mark.parametrize("change", [other_audio, other_video, result_removed, result_of_unknown_origin])
def test_what_was_made_of_something_else_is_made_again(folders, dubbed, change):
    run(folders)
    dubbed.names.clear()
    change(folders)
    run(folders)
    assert dubbed.names == ["a"]


@pytest.mark.parametrize("option", [("--inference_seed", "7"), ("--inference_steps", "4"), ("--compile",)])
def test_other_options_make_all_again(folders, dubbed, option):
    run(folders)
    dubbed.names.clear()
    run(folders, *option)
    assert sorted(dubbed.names) == ["a", "b", "c"]


def test_other_weights_make_all_again(folders, dubbed, monkeypatch):
    run(folders)
    dubbed.names.clear()
    monkeypatch.setattr("latentsync.inference.weights.sha256_file", lambda path: "other")
    run(folders)
    assert sorted(dubbed.names) == ["a", "b", "c"]


def test_links_follow_the_files_that_they_name(folders, dubbed):
    run(folders)
    source = folders / "out" / "source" / "a.mp4"
    assert source.samefile(folders / "videos" / "a.mp4")
    (folders / "other").mkdir()
    (folders / "other" / "a.mp4").write_text("another")
    run(folders, "--videos_dir", str(folders / "other"))
    assert source.read_text() == "another"

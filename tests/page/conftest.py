"""One example and one page for the tests that do not change how the page is set up."""

from __future__ import annotations

import os

import pytest

from tests.page.stage import StageNetworks, make_example, stage


class Clock:
    """A clock that stands until a test sets ``now``, s."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    return make_example(tmp_path_factory.mktemp("stage") / "example")


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    """Where a page of the tests keeps everything: what appears elsewhere should not have."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(example, page_folder):
    """(address, jobs) of a page over stub networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(page_folder))
        patch.setenv("LATENTSYNC_CACHE", str(page_folder / "cache"))
        with stage(example) as both:
            yield both


@pytest.fixture(autouse=True)
def quick_networks():
    """Each test begins with networks that take no time."""
    StageNetworks.seconds = 0.0
    yield
    StageNetworks.seconds = 0.0


@pytest.fixture
def held():
    """Networks that stand still at their next step until the test sets this event, or ends."""
    StageNetworks.go_on.clear()
    yield StageNetworks.go_on
    StageNetworks.go_on.set()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """What was given to programs with the names of FFmpeg's, which are found first."""
    calls = tmp_path / "calls"
    for name in ("ffmpeg", "ffprobe"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} $* >> {calls}\n")
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return lambda: calls.read_text() if calls.exists() else ""

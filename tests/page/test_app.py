"""The command that serves the page: its flags, how it fails, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import gradio_app
from latentsync.errors import WeightsMissingError
from latentsync.inference.presets import PRESETS

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # s; the machine may be busy


@pytest.fixture
def asked(monkeypatch):
    """What the page would be served with."""
    seen = {}

    @contextmanager
    def serving(studio, **settings):
        seen.update(settings, studio=studio)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("latentsync.page.server.serving", serving)
    monkeypatch.setattr("latentsync.runtime.malloc.keep_freed_memory", lambda: None)
    return seen


def test_nobody_else_reaches_it_unless_asked(asked):
    assert gradio_app.main([]) == 0
    studio = asked.pop("studio")
    assert asked == {"host": "127.0.0.1", "port": None, "share": False, "preset": None}
    assert next(iter(studio.weights.values())).check() and all(example.faces.is_file() for example in studio.examples)


def test_flags(asked, capsys):
    assert gradio_app.main(["--host", "0.0.0.0", "--port", "7999", "--share", "--preset", "fast"]) == 0
    del asked["studio"]
    assert asked == {"host": "0.0.0.0", "port": 7999, "share": True, "preset": "fast"}
    with pytest.raises(SystemExit):
        gradio_app.main(["--preset", "nonsense"])
    said = capsys.readouterr().err
    assert all(name in said for name in PRESETS)


def test_a_folder_without_weights_is_a_sentence(asked, tmp_path, capsys):
    assert gradio_app.main(["--checkpoint_dir", str(tmp_path)]) == WeightsMissingError.exit_code
    said = capsys.readouterr().err
    assert "latentsync_unet.pt" in said and "download_checkpoints" in said and not asked


def test_a_port_that_is_taken_is_a_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert gradio_app.main(["--port", str(taken.getsockname()[1])]) == 1
    assert "Error: the page cannot be served" in capsys.readouterr().err


def test_it_starts_serves_and_ends_without_leaving_anything(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "gradio_app.py"), "--port", str(port)]
    surroundings = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=surroundings, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        try:
            assert f"http://127.0.0.1:{port}/" in line
            assert "Dub the video" in httpx.get(f"http://127.0.0.1:{port}/config", timeout=TIMEOUT).text
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(TIMEOUT)
    assert code == 0
    assert not list(tmp_path.glob("latentsync_page_*"))


def test_the_page_answers_before_the_libraries_of_the_networks_are_there(tmp_path):
    code = """
import json, sys, time
import httpx
from latentsync.inference.weights import installed_weights
from latentsync.media.limits import MediaLimits
from latentsync.page.server import serving
from latentsync.page.jobs import JobQueue
studio = JobQueue(installed_weights(), MediaLimits())
with serving(studio) as address:
    httpx.get(address, timeout=600).raise_for_status()
    before = [name for name in ("torch", "diffusers", "transformers", "scipy") if name in sys.modules]
    studio.warm_up()
    while "latentsync.inference.loading" not in sys.modules:
        time.sleep(0.1)
print(json.dumps(before))
"""
    surroundings = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []

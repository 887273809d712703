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

from latentsync.cli import page as program
from latentsync.errors import ConfigError, ServerError, WeightsMissingError
from latentsync.inference.options import PRESETS
from latentsync.page.server import ServerSettings
from latentsync.page.storage import StorageLimits

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # s; the machine may be busy


@pytest.fixture
def asked(monkeypatch):
    """What the page would be served with."""
    seen = {}

    @contextmanager
    def serving(jobs, settings, preset):
        seen.update(settings=settings, jobs=jobs, preset=preset)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("latentsync.page.server.serving", serving)
    monkeypatch.setattr("latentsync.runtime.memory.keep_freed_memory", lambda: None)
    return seen


def test_nobody_else_reaches_it_unless_asked(asked):
    assert program.main([]) == 0
    assert asked["settings"] == ServerSettings() and asked["preset"] is None
    assert asked["settings"].host == "127.0.0.1" and not asked["settings"].share
    jobs = asked["jobs"]
    assert next(iter(jobs.weights.values())).check() and all(example.faces.is_file() for example in jobs.examples)


def test_flags(asked, capsys, tmp_path):
    accounts = tmp_path / "accounts"
    accounts.write_text("anna:correct horse\n")
    place = ["--host", "0.0.0.0", "--port", "7999", "--share", "--allow_host", "page.example", "b.example:8443"]
    place += ["--root_path", "/dub"]
    sizes = ["--visitor_gb", "0.5", "--total_gb", "3", "--reserve_gb", "0.25"]
    times = ["--upload_minutes", "2", "--grace_minutes", "3"]
    assert program.main([*place, *sizes, *times, "--auth", str(accounts), "--preset", "fast"]) == 0
    settings = asked["settings"]
    assert (settings.host, settings.port, settings.share) == ("0.0.0.0", 7999, True)
    assert settings.allow_hosts == ("page.example", "b.example:8443") and settings.root_path == "/dub"
    assert settings.storage == StorageLimits(5 * 10**8, 3 * 10**9, 25 * 10**7)
    assert settings.uploads.seconds == 120 and asked["jobs"].kept.grace_seconds == 180 and asked["preset"] == "fast"
    assert settings.accounts.know("anna", "correct horse") and not settings.accounts.know("anna", "wrong")
    with pytest.raises(SystemExit):
        program.main(["--preset", "nonsense"])
    said = capsys.readouterr().err
    assert all(name in said for name in PRESETS)


def test_a_folder_without_weights_is_a_sentence(asked, tmp_path, capsys):
    assert program.main(["--checkpoint_dir", str(tmp_path)]) == WeightsMissingError.exit_code
    said = capsys.readouterr().err
    assert "latentsync_unet.pt" in said and "latentsync weights" in said and not asked


@pytest.mark.parametrize(
    "flags, code, words",
    [
        (["--port", "0"], ConfigError, "There is no port 0.\n  -> Use one from 1 to 65535"),
        (["--port", "-1"], ConfigError, "There is no port -1."),
        (["--port", "70000"], ConfigError, "There is no port 70000."),
        (["--host", "no.such.host.invalid"], ConfigError, "There is no host 'no.such.host.invalid'."),
        (["--host", "192.0.2.1"], ServerError, "of 192.0.2.1 cannot be had"),
        (["--allow_host", "http://page.example"], ConfigError, "'http://page.example' is not the name of a host."),
        (["--root_path", "https://page.example/dub"], ConfigError, "'https://page.example/dub' is no path of a page."),
        (["--auth", "no/such/file"], ConfigError, "no/such/file cannot be read"),
    ],
)
def test_a_place_where_it_cannot_be_served_is_a_sentence(capsys, flags, code, words):
    assert program.main(flags) == code.exit_code
    said = capsys.readouterr().err
    assert words in said and "GRADIO" not in said and "Traceback" not in said


def test_a_disk_that_is_too_full_is_said_at_the_start(caplog, tmp_path, monkeypatch):
    def interrupt(jobs):
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("latentsync.runtime.memory.keep_freed_memory", lambda: None)
    monkeypatch.setattr("latentsync.page.jobs.JobQueue.warm_up", interrupt)
    assert program.main(["--reserve_gb", "1e9"]) == 0
    assert "There is no room" in caplog.text and "--reserve_gb" in caplog.text
    assert f"MB are free in {tmp_path}" in caplog.text and "TMPDIR=FOLDER" in caplog.text


def test_a_port_that_is_taken_is_a_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert program.main(["--port", str(port)]) == ServerError.exit_code
    said = capsys.readouterr().err
    assert f"Error: Port {port} of 127.0.0.1 cannot be had" in said and "--port" in said and "GRADIO" not in said


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

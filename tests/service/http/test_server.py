"""A service with its processes: killed in the middle of a job, it goes on; asked to end, it puts its work down."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from latentsync.cli import serve
from latentsync.errors import WeightsMissingError
from latentsync.inference.job.folder import JobFolder
from latentsync.service.store import open_store

ROOT = Path(__file__).parents[3]
# Server and worker with a stand-in for the dub: it keeps a window, waits until it is let on, and says whether it found
# that window. A stand-in for the whole module, whose libraries take seconds to import.
PROGRAM = """
import os, sys, time
from pathlib import Path
from types import ModuleType, SimpleNamespace
module = sys.modules["latentsync.inference.job.dub"] = ModuleType("dub")
module.OnNote = None
def dub(request, control, networks):
    request.segments.mkdir(exist_ok=True)
    window = request.segments / "window"
    how = "went on" if window.exists() else "began"
    window.touch()
    while not Path(os.environ["GO"]).exists():
        control.step_done(1)
        time.sleep(0.02)
    request.output.write_text(how)
    return SimpleNamespace(to_json=lambda: '{"output_seconds": 1.0}')
module.dub = dub
from latentsync.cli import serve
from latentsync.service.worker import Worker
Worker.__init__.__defaults__ = ("auto", lambda: None, lambda work: work())
Worker.warm_up = lambda self: None
serve.COMMAND = [sys.executable, __file__]
from latentsync.__main__ import run
run("serve", sys.argv[1:])
"""


@pytest.fixture
def program(tmp_path):
    """Starts a service; ``call`` speaks with it once it is ready."""
    (tmp_path / "program.py").write_text(PROGRAM)
    running = []

    def start():
        surroundings = os.environ | {"PYTHONPATH": str(ROOT), "GO": str(tmp_path / "go")}
        words = ["--data", str(tmp_path / "data"), "--port", str(port), "--private_addresses", "--reserve_gb", "0"]
        process = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), *words], env=surroundings)
        running.append(process)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300)
        until(lambda: process.poll() is not None or is_ready(client))
        assert process.poll() is None
        return SimpleNamespace(process=process, client=client)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield SimpleNamespace(start=start, go=tmp_path / "go", data=tmp_path / "data")
    for process in running:
        process.kill()
        process.wait()


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def until(holds):
    while not holds():
        time.sleep(0.02)


def send(client, hook):
    files = {"video": ("v.mp4", b"a video"), "audio": ("a.wav", b"speech")}
    answer = client.post("/v2/generate", data={"model": "lipsync-2", "webhookUrl": hook}, files=files)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def workers(data):
    store = open_store(data)
    found = [row["pid"] for row in store.read("SELECT pid FROM workers")]
    store.close()
    return found


@pytest.mark.parametrize(
    "error", [WeightsMissingError("There is no detector.", remedy="Fetch one."), KeyboardInterrupt()]
)
def test_a_worker_that_cannot_begin_says_so_in_the_log_of_the_service(error, monkeypatch, caplog, capsys):
    def fail(parsed):
        raise error

    monkeypatch.setattr(serve, "work", fail)
    monkeypatch.setattr(serve, "log_as_json", lambda: None)
    code = serve.main(["--worker", "worker-0"])
    assert code == getattr(error, "exit_code", 0) and capsys.readouterr().err == ""
    assert [(each.message, each.remedy) for each in caplog.records if each.name == serve.__name__] == (
        [("This worker cannot begin: There is no detector.", "Fetch one.")] if code else []
    )


def test_killed_in_the_middle_of_a_job_and_ended_politely(program, other_side):
    first = program.start()
    id = send(first.client, f"{other_side.url}/hook")
    until((program.data / "jobs" / id / "segments" / "window").exists)
    (worker,) = workers(program.data)
    first.process.kill()
    first.process.wait()
    os.kill(worker, signal.SIGKILL)  # as the machine would; left alone, it ends by itself

    second = program.start()
    program.go.touch()
    until(lambda: second.client.get(f"/v2/generate/{id}").json()["status"] == "COMPLETED")
    assert json.loads((program.data / "jobs" / id / "state.json").read_text())["attempts"] == 2
    assert second.client.get(second.client.get(f"/v2/generate/{id}").json()["outputUrl"]).text == "went on"
    store = open_store(program.data)
    until(lambda: not store.due_webhooks(1e12))
    assert [headers["Webhook-Id"] for _, headers, _ in other_side.got] == [id]
    assert 'latentsync_webhooks_total{outcome="delivered"} 1.0' in second.client.get("/metrics").text

    program.go.unlink()
    other = send(second.client, f"{other_side.url}/hook")
    until((program.data / "jobs" / other / "segments" / "window").exists)
    second.process.terminate()
    assert second.process.wait() == 0 and store.get(other).status == "PENDING"
    assert JobFolder(program.data / "jobs" / other).read().state == "waiting"
    store.close()

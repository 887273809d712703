"""A page in a process of its own, as ``gradio_app.py`` serves it, over the networks of the stage."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # s; the machine may be busy
PROGRAM = """
import functools, sys
import gradio_app, latentsync.page.jobs as jobs
from tests.page.stage import StageNetworks
StageNetworks.seconds = 0.2
jobs.JobQueue.warm_up = lambda self: None  # of libraries that the networks of the stage do without
jobs.JobQueue = functools.partial(jobs.JobQueue, make_networks=StageNetworks)
gradio_app.end_politely()
sys.exit(gradio_app.main(["--port", *sys.argv[1:], "--reserve_gb", "0"]))
"""


@contextmanager
def program(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """(process, address) of a page that keeps its files in ``folder``."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    surroundings = os.environ | {"TMPDIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM, str(port), *flags]
    process = subprocess.Popen(command, env=surroundings, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert "The page is at" in process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def begin_job(address):
    """Have the sample dubbed; it takes a while."""
    files = []
    for name in ("sample_video.mp4", "sample_audio.wav"):
        content = (ROOT / "assets" / name).read_bytes()
        answer = httpx.post(f"{address}gradio_api/upload", files={"files": (name, content)}, timeout=TIMEOUT)
        files.append({"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}})
    settings = ["built-in models", "builtin", 0, 0, 0, "pingpong", "as the source", "largest"]
    answer = httpx.post(f"{address}gradio_api/call/dub", json={"data": [*files, *settings]}, timeout=TIMEOUT)
    assert answer.status_code == 200

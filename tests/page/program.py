"""A page in a process of its own, as `latentsync page` serves it, over the networks of the stage."""

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
SAMPLE = (ROOT / "assets" / "sample_video.mp4", ROOT / "assets" / "sample_audio.wav")  # of 10 s
TIMEOUT = 300  # s; the machine may be busy
PROGRAM = """
import functools, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by ignores
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import latentsync.page.jobs as jobs
from latentsync.__main__ import end_politely
from latentsync.cli.page import main
from tests.page.stage import StageNetworks
StageNetworks.seconds = float(os.environ["STAGE_SECONDS"])
jobs.JobQueue.warm_up = lambda self: None  # of libraries that the networks of the stage do without
jobs.JobQueue = functools.partial(jobs.JobQueue, make_networks=StageNetworks)
end_politely()
sys.exit(main(["--port", sys.argv[1], "--reserve_gb", "0"]))
"""


@contextmanager
def program(folder: Path, seconds: float = 0.0) -> Iterator[tuple[subprocess.Popen, str]]:
    """(process, address) of a page that keeps its files in ``folder``; a step of the network takes ``seconds``."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    surroundings = os.environ | {"TMPDIR": str(folder), "STAGE_SECONDS": str(seconds)}
    command = [sys.executable, "-c", PROGRAM, str(port)]
    process = subprocess.Popen(command, env=surroundings, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert "The page is at" in process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def upload(address: str, path: Path) -> dict:
    """A file as programs give it after they have uploaded it."""
    files = {"files": (path.name, path.read_bytes())}
    answer = httpx.post(f"{address}gradio_api/upload", files=files, timeout=TIMEOUT)
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def begin(address: str, video: dict, audio: dict) -> str:
    """Ask for a dub, and give the address of what is said of it."""
    first = ["built-in models", "builtin", 0, 0, 0, "pingpong", "as the source", "largest"]
    settings = [*first, "face", "generate", "", "off", "auto"]
    data = {"data": [video, audio, *settings]}
    answer = httpx.post(f"{address}gradio_api/call/dub", json=data, timeout=TIMEOUT)
    return f"{address}gradio_api/call/dub/{answer.json()['event_id']}"


def dub(address: str, video: dict, audio: dict) -> str:
    """The last thing that is said of a dub: an event and its data."""
    events = httpx.get(begin(address, video, audio), timeout=TIMEOUT).text.strip().split("\n\n")
    return events[-1]

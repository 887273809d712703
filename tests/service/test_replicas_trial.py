"""A service whose workers are replicas of Ray Serve on two nodes of this machine, one of which is lost. Slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from latentsync.service import runner
from latentsync.service.replicas import ServeWorkers
from tests.service.batch.stand_in import ROOT

pytestmark = pytest.mark.slow
COUNT = 12


class NoNetworks:
    """Whoever makes them dubs by a stand-in, for half a second, and leaves a line in ``LOG``."""

    def __init__(self):
        runner.dub = dub

    def detector(self, *values):
        """Nothing is looked for."""

    pipeline = detector


def dub(request, control, networks):
    for _ in range(5):
        control.step_done(1)
        time.sleep(0.1)
    request.output.write_bytes(request.video.read_bytes())
    with Path(os.environ["LOG"]).open("a") as log:
        log.write(f"{request.video.read_text()} {os.environ.get('RAY_NODE_ID', os.getppid())}\n")
    return SimpleNamespace(to_json=lambda: '{"output_seconds": 1.0}')


def until(holds, process, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_two_nodes_of_which_one_is_lost(tmp_path, monkeypatch):
    pytest.importorskip("ray.serve")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    process = None
    try:
        lost = cluster.add_node(num_cpus=1)
        words = ["--data", str(tmp_path / "data"), "--port", "8321", "--ray", cluster.address, "--reserve_gb", "0"]
        process = subprocess.Popen([sys.executable, "-m", "tests.service.test_replicas_trial", *words], cwd=ROOT)
        client = httpx.Client(base_url="http://127.0.0.1:8321", timeout=60)
        until(lambda: is_ready(client), process)
        until(lambda: "latentsync_workers 2.0" in client.get("/metrics").text, process)
        ids = []
        for number in range(COUNT):
            files = {"video": ("v.mp4", f"video {number}".encode()), "audio": ("a.wav", b"speech")}
            ids.append(client.post("/v2/generate", data={"model": "lipsync-2"}, files=files).json()["id"])
        done = lambda: client.get("/v2/generations?status=COMPLETED").json()  # noqa: E731
        until(lambda: len(done()) >= 3, process)
        cluster.remove_node(lost, allow_graceful=False)
        until(lambda: len(done()) == COUNT, process)
        assert {job["id"] for job in done()} == set(ids)
        assert all(httpx.get(job["outputUrl"]).content.startswith(b"video") for job in done())
        process.terminate()
        assert process.wait(60) == 0
    finally:
        if process is not None:
            process.kill()
            process.wait()
        cluster.shutdown()
    lines = [line.rpartition(" ")[::2] for line in (tmp_path / "log").read_text().splitlines()]
    assert {name for name, _ in lines} == {f"video {number}" for number in range(COUNT)}
    print(f"{COUNT} jobs, {len(lines)} dubs ended, on {len({node for _, node in lines})} nodes")


if __name__ == "__main__":
    from latentsync.__main__ import run
    from tests.service import test_replicas_trial  # under the name by which the processes of a cluster import it

    ServeWorkers.__init__.__kwdefaults__["make_networks"] = test_replicas_trial.NoNetworks
    run("serve", sys.argv[1:])

"""Many clients of the service at once, with a stand-in for the dub: python -m benchmarks.service_load --clients 200

Every client sends a job of its own and asks for it until it has ended. Nothing is worked on before all have sent, so as
many jobs are taken as may wait (``--waiting``), and the others are answered with 429. Reported: how many were taken,
refused, lost or given another one's result; what the status took to ask for (the server and all clients share this
process); resident memory before the clients and after a second round of them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil

from benchmarks.report import publish
from latentsync.inference.weights import WeightPaths
from latentsync.page.listener import bind, listening
from latentsync.service import runner
from latentsync.service.dubs import Models
from latentsync.service.http.access import Service
from latentsync.service.http.app import build_app
from latentsync.service.http.server import open_store
from latentsync.service.job import ServiceSettings
from latentsync.service.keys import Keys
from latentsync.service.uploads import Uploads
from latentsync.service.worker import Worker

MODEL = "latentsync-builtin"


def stand_in(request: Any, control: Any, networks: Any) -> Any:
    """Takes the place of ``dub``: a moment, and a result that tells whose it is."""
    control.expect(1, 1)
    time.sleep(0.01)
    request.output.write_bytes(request.video.read_bytes())
    return SimpleNamespace(to_json=lambda: '{"output_seconds": 1.0}')


async def client(address: str, number: int, sent: asyncio.Barrier, latencies: list[float]) -> str:
    """'taken', 'refused', 'lost' or 'mixed up'."""
    async with httpx.AsyncClient(base_url=address, timeout=600) as http:
        own = f"client {number}".encode()
        files = {"video": ("v.mp4", own), "audio": ("a.wav", own)}
        answer = await http.post("/v2/generate", data={"model": MODEL}, files=files)
        await sent.wait()
        if answer.status_code == 429:
            return "refused" if answer.headers["retry-after"] else "lost"
        id = answer.json()["id"]
        while True:
            start = time.perf_counter()
            try:
                job = (await http.get(f"/v2/generate/{id}")).json()
            except httpx.TransportError:  # the server closes a connection on which no request comes for a while
                continue
            latencies.append(time.perf_counter() - start)
            if job["status"] not in ("PENDING", "PROCESSING"):
                break
            await asyncio.sleep(0.2)
        if job["status"] != "COMPLETED":
            return "lost"
        return "taken" if (await http.get(job["outputUrl"])).content == own else "mixed up"


def measure(folder: Path, clients: int, waiting: int, rounds: int = 2) -> dict[str, Any]:
    """The figures of so many rounds of clients."""
    settings = ServiceSettings(folder, waiting=waiting, reserve=0)
    models = Models({MODEL: WeightPaths.builtin()}, MODEL)
    outcomes: list[dict[str, int]] = []
    latencies: list[float] = []
    memory = [psutil.Process().memory_info().rss]
    with ExitStack() as stack:
        store = open_store(folder)
        stack.callback(store.close)
        service = Service(
            settings, store, Keys(None), models, Uploads(settings), b"secret", lambda: None, lambda: ""
        )
        sock = stack.enter_context(bind("127.0.0.1", None))
        stack.enter_context(listening(build_app(service), sock))
        address = f"http://127.0.0.1:{sock.getsockname()[1]}"
        for number in range(rounds):
            worker = Worker(store, settings, models, f"worker-{number}", "cpu", make_networks=lambda: None)  # type: ignore[arg-type,return-value]
            found = asyncio.run(_round(address, clients, worker, latencies))
            outcomes.append({each: found.count(each) for each in ("taken", "refused", "lost", "mixed up")})
            memory.append(psutil.Process().memory_info().rss)
    times = sorted(latencies)
    return {
        "clients": clients,
        "waiting": waiting,
        "rounds": outcomes,
        "status_requests": len(times),
        "status_median_ms": 1000 * statistics.median(times),
        "status_p95_ms": 1000 * times[int(0.95 * (len(times) - 1))],
        "memory_bytes": memory,
    }


async def _round(address: str, clients: int, worker: Worker, latencies: list[float]) -> list[str]:
    sent = asyncio.Barrier(clients + 1)
    tasks = [asyncio.create_task(client(address, number, sent, latencies)) for number in range(clients)]
    await sent.wait()
    thread = threading.Thread(target=worker.work)
    thread.start()
    found = await asyncio.gather(*tasks)
    worker.end()
    await asyncio.to_thread(thread.join)
    return list(found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=50)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    before, runner.dub = runner.dub, stand_in  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), options.clients, options.waiting)
    finally:
        runner.dub = before
    publish("service_load", figures, output=options.output)


if __name__ == "__main__":
    main()

"""Many clients of the service at once, with a stand-in for the dub: python -m benchmarks.service_load --clients 200

Every client sends a job of its own and asks for it until it has ended. Nothing is worked on before all have sent, so as
many jobs are taken as may wait (``--waiting``), and the others are answered with 429. Server, worker and clients are a
process each. Reported: how many were taken, refused, lost or given another one's result; what the status took to ask
for, and beside it what ``/healthz`` took, which costs the server next to nothing: that is the share of the clients and
of the machine; processor time of server and clients for each of these requests; how many requests were asked again
because the server had closed the connection; resident memory of the server before the clients and after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import threading
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil

from benchmarks.report import publish
from latentsync.inference.weights import WeightPaths
from latentsync.service import runner
from latentsync.service.dubs import Models
from latentsync.service.http.access import Service
from latentsync.service.http.app import build_app
from latentsync.service.job import ServiceSettings
from latentsync.service.keys import Keys
from latentsync.service.store import open_store
from latentsync.service.uploads import Uploads
from latentsync.service.worker import Worker
from latentsync.web.listener import bind, listening

MODEL = "latentsync-builtin"


def stand_in(request: Any, control: Any, networks: Any) -> Any:
    """Takes the place of ``dub``: a moment, and a result that tells whose it is."""
    control.expect(1, 1)
    time.sleep(0.01)
    request.output.write_bytes(request.video.read_bytes())
    return SimpleNamespace(to_json=lambda: '{"output_seconds": 1.0}')


def serve(folder: Path, waiting: int, pipe: Connection) -> None:
    """The process of the server: says its address, then for each word its memory and processor seconds, until there is
    an empty one."""
    settings = ServiceSettings(folder, waiting=waiting, reserve=0)
    models = Models({MODEL: WeightPaths.builtin()}, MODEL)
    with ExitStack() as stack:
        store = open_store(folder)
        stack.callback(store.close)
        service = Service(
            settings, store, Keys(None), models, Uploads(settings), b"secret", lambda: None, lambda: ""
        )
        sock = stack.enter_context(bind("127.0.0.1", None))
        stack.enter_context(listening(build_app(service), sock))
        pipe.send(f"http://127.0.0.1:{sock.getsockname()[1]}")
        while pipe.recv():
            pipe.send((psutil.Process().memory_info().rss, time.process_time()))


def work(folder: Path, pipe: Connection) -> None:
    """The process of the worker: for each word it works until the next one, until there is an empty one."""
    runner.dub = stand_in  # type: ignore[assignment]
    settings, models = ServiceSettings(folder, reserve=0), Models({MODEL: WeightPaths.builtin()}, MODEL)
    store = open_store(folder)
    pipe.send("ready")
    while pipe.recv():
        worker = Worker(store, settings, models, "worker-0", "cpu", make_networks=lambda: None)  # type: ignore[arg-type,return-value]
        thread = threading.Thread(target=worker.work)
        thread.start()
        pipe.recv()
        worker.end()
        thread.join()
        pipe.send("done")
    store.close()


@dataclass
class Asked:
    """Seconds that requests took, and how many were asked again; processor seconds of both sides for all of them."""

    status: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    again: int = 0
    server: float = 0.0
    clients: float = 0.0

    async def get(self, http: httpx.AsyncClient, path: str, times: list[float]) -> Any:
        """What the server answers."""
        while True:
            start = time.perf_counter()
            try:
                answer = await http.get(path)
            except httpx.TransportError:  # the server closes a connection on which no request comes for a while
                self.again += 1
                continue
            times.append(time.perf_counter() - start)
            return answer.json()


async def client(http: httpx.AsyncClient, number: int, sent: asyncio.Barrier, asked: Asked) -> str:
    """'taken', 'refused', 'lost' or 'mixed up'."""
    own = f"client {number}".encode()
    files = {"video": ("v.mp4", own), "audio": ("a.wav", own)}
    answer = await http.post("/v2/generate", data={"model": MODEL}, files=files)
    await sent.wait()
    if answer.status_code == 429:
        return "refused" if answer.headers["retry-after"] else "lost"
    id = answer.json()["id"]
    while True:
        job = await asked.get(http, f"/v2/generate/{id}", asked.status)
        if job["status"] not in ("PENDING", "PROCESSING"):
            break
        await asked.get(http, "/healthz", asked.health)
        await asyncio.sleep(0.2)
    if job["status"] != "COMPLETED":
        return "lost"
    return "taken" if (await http.get(job["outputUrl"])).content == own else "mixed up"


def measure(folder: Path, clients: int, waiting: int, rounds: int = 2) -> dict[str, Any]:
    """The figures of so many rounds of clients."""
    context = multiprocessing.get_context("spawn")
    (server, servers), (worker, workers) = context.Pipe(), context.Pipe()
    processes = [
        context.Process(target=serve, args=(folder, waiting, servers), daemon=True),
        context.Process(target=work, args=(folder, workers), daemon=True),
    ]
    outcomes, asked, memory = [], Asked(), []
    for process in processes:
        process.start()
    address = server.recv()
    worker.recv()
    for number in range(rounds + 1):
        memory.append(_figures_of(server)[0])
        if number < rounds:
            found = asyncio.run(_round(address, clients, server, worker, asked))
            outcomes.append({each: found.count(each) for each in ("taken", "refused", "lost", "mixed up")})
    for pipe, process in zip((server, worker), processes, strict=True):
        pipe.send("")
        process.join()
    status, health = _p95(asked.status), _p95(asked.health)
    requests = len(asked.status) + len(asked.health)
    return {
        "clients": clients,
        "waiting": waiting,
        "rounds": outcomes,
        "status_requests": len(asked.status),
        "asked_again": asked.again,
        "status_median_ms": 1000 * statistics.median(asked.status),
        "status_p95_ms": 1000 * status,
        "healthz_p95_ms": 1000 * health,
        "status_over_healthz": status / health,
        "server_cpu_ms_per_request": 1000 * asked.server / requests,
        "clients_cpu_ms_per_request": 1000 * asked.clients / requests,
        "memory_bytes": memory,
    }


def _p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1))]


def _figures_of(server: Connection) -> tuple[int, float]:
    """Its memory in bytes, and processor seconds."""
    server.send("figures")
    memory, seconds = server.recv()
    return memory, seconds


async def _round(
    address: str, clients: int, server: Connection, worker: Connection, asked: Asked
) -> list[str]:
    sent = asyncio.Barrier(clients + 1)
    certificates = httpx.create_ssl_context()  # made once: it takes longer than all requests of a client
    async with AsyncExitStack() as stack:
        https = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=600, verify=certificates))
            for _ in range(clients)
        ]
        tasks = [asyncio.create_task(client(http, number, sent, asked)) for number, http in enumerate(https)]
        await sent.wait()
        before = _figures_of(server)[1], time.process_time()
        worker.send("begin")
        found = await asyncio.gather(*tasks)
        asked.server += _figures_of(server)[1] - before[0]
        asked.clients += time.process_time() - before[1]
    worker.send("end")
    await asyncio.to_thread(worker.recv)
    return list(found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=50)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.clients, options.waiting)
    publish("service_load", figures, output=options.output)


if __name__ == "__main__":
    main()

import json
import threading
import time
from types import SimpleNamespace

from benchmarks import service_overhead
from latentsync.service import runner
from latentsync.service.store import open_store
from latentsync.service.worker import Worker
from tests.benchmarks.commands import run_benchmark


class WorkerHere:
    """A worker in this process, in place of the one that a command starts."""

    def __init__(self, commands):
        ((*_, folder, _, device),) = commands
        self.folder, self.device = service_overhead.Path(folder), device

    def start(self):
        self.store = open_store(self.folder)
        settings, models = service_overhead.settings_of(self.folder), service_overhead.models()
        networks = lambda: (self.folder / service_overhead.LOADS).write_text("loaded\n")  # noqa: E731
        self.worker = Worker(self.store, settings, models, "worker-0", self.device, make_networks=networks)
        self.thread = threading.Thread(target=self.worker.work)
        self.thread.start()

    def wake(self):
        self.worker.wake()

    def alive(self):
        return 1

    def end(self):
        self.worker.end()
        self.thread.join()
        self.store.close()


def test_overhead_of_a_stand_in(monkeypatch, capsys):
    def dub(request, control, networks):
        start = time.monotonic()
        request.output.write_bytes(b"dubbed")
        report = {"output_seconds": 1.0, "wall_seconds": time.monotonic() - start}
        return SimpleNamespace(to_json=lambda: json.dumps(report))

    monkeypatch.setattr(runner, "dub", dub)
    monkeypatch.setattr(service_overhead, "Supervisor", WorkerHere)
    found = run_benchmark(service_overhead, ["--jobs", "2", "--seconds", "0.1"], monkeypatch, capsys)
    assert found["loads"] == 1 and found["jobs"] == 2
    parts = sum(found[name]["median"] for name in ("queue", "service", "noticed"))
    assert found["overhead"]["least"] > 0 and parts > 0 and found["total"]["least"] >= found["dub"]["least"]

"""Figures for Prometheus. They are read from the store when they are asked for, so they count over restarts and over
all processes of the service; ``prometheus-client`` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from latentsync.service.store import JobStore

COUNTERS = {
    "jobs": ("latentsync_jobs", "Jobs that ended, by status.", "status"),
    "failures": ("latentsync_failures", "Jobs that ended without a result, by the class of the error.", "error"),
    "seconds": (
        "latentsync_stage_seconds",
        "Seconds of work, by stage; 'queue' is the time before it, 'service' what a job took that was not its dub.",
        "stage",
    ),
    "webhooks": ("latentsync_webhooks", "Messages, by what became of them.", "outcome"),
}


class StoreMetrics(Collector):
    """``workers_alive``: how many workers run."""

    def __init__(self, store: JobStore, workers_alive: Callable[[], int]) -> None:
        self._store, self._alive = store, workers_alive

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        for name, (family, text, label) in COUNTERS.items():
            counter = CounterMetricFamily(family, text, labels=[label])
            for row in self._store.read("SELECT label, value FROM counts WHERE name = ? ORDER BY label", name):
                counter.add_metric([row["label"]], row["value"])
            yield counter
        queue = GaugeMetricFamily("latentsync_queue", "Jobs that wait or are worked on.", labels=["status"])
        now = "SELECT status, count(*) AS n FROM jobs WHERE ended IS NULL GROUP BY status"
        found = {row["status"]: row["n"] for row in self._store.read(now)}
        for status in ("PENDING", "PROCESSING"):
            queue.add_metric([status.lower()], found.get(status, 0))
        yield queue
        yield GaugeMetricFamily("latentsync_workers", "Workers that run.", value=self._alive())
        memory = GaugeMetricFamily("latentsync_memory_bytes", "Resident memory of a process.", labels=["process"])
        memory.add_metric(["server"], psutil.Process().memory_info().rss)
        for row in self._store.read("SELECT name, pid FROM workers ORDER BY name"):
            if psutil.pid_exists(row["pid"]):
                memory.add_metric([row["name"]], psutil.Process(row["pid"]).memory_info().rss)
        yield memory


def exposition(collector: Collector) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)

"""Who does the work: this process, or Ray's workers on this machine or a cluster. Pools have names and sizes.

At most one task per worker is under way, so nothing piles up behind a slow stage.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from latentsync.errors import ConfigError, DeviceError
from latentsync.media.threads import single_threaded
from latentsync.places import PACKAGE
from latentsync.preprocess.engine.commit import hold_worker_lock
from latentsync.preprocess.engine.worker import TaskResult, Worker, WorkerTask

CPU, GPU = "cpu", "gpu"  # pools; also what kind of device their networks run on

MakeWorker = Callable[[str], Worker]  # from the name of a pool

_OBJECT_STORE = 100 * 2**20  # bytes; only small values travel, Ray's default is a third of the memory
_SECONDS_TO_ANSWER = 10
_START = (
    "Start it with 'ray start', or name another. If it has a token, set RAY_AUTH_MODE=token here and give this machine "
    "the cluster's ~/.ray/auth_token."
)
_TRIES = 2  # times that a task may take its worker's process down


class Pools(Protocol):
    """Workers that are given tasks and asked for results."""

    def has_room(self, pool: str) -> bool:
        """Whether a worker of ``pool`` has nothing to do."""
        ...

    def submit(self, pool: str, task: WorkerTask) -> None:
        """Give a task to a worker of a pool that has room."""
        ...

    def wait(self) -> tuple[WorkerTask, TaskResult] | None:
        """The next task to be finished; None if none is under way."""
        ...

    def close(self) -> None:
        """End all workers, with whatever they are doing."""
        ...


class LocalPool:
    """Everything in this process, one task after the other."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._finished: tuple[WorkerTask, TaskResult] | None = None

    def has_room(self, pool: str) -> bool:
        return self._finished is None

    def submit(self, pool: str, task: WorkerTask) -> None:
        with single_threaded():
            self._finished = task, self._worker.work(task)

    def wait(self) -> tuple[WorkerTask, TaskResult] | None:
        finished, self._finished = self._finished, None
        return finished

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _Running:
    pool: str
    actor: Any
    task: WorkerTask


class RayPools:
    """Ray actors; ``sizes`` by pool. A worker whose process dies is replaced, and its task tried once more.

    If that dies too, the task is to blame (``TaskResult.crash``), unless Ray ended it because the machine was short of
    memory: that need not be the clip's fault, so it counts as not done (``TaskResult.trace``).
    """

    def __init__(
        self, sizes: Mapping[str, int], workers_per_gpu: int, make_worker: MakeWorker, lock_folder: Path
    ) -> None:
        import ray

        self._ray = ray
        self._make = make_worker, lock_folder
        self._shares: dict[str, dict[str, float]] = {
            CPU: {"num_cpus": 1},
            GPU: {"num_cpus": 0, "num_gpus": 1 / workers_per_gpu},
        }
        self._actor_class = ray.remote(_Actor)
        errors = ray.exceptions
        self._no_memory = errors.OutOfMemoryError  # for Ray no kind of RayActorError
        self._death = (errors.RayActorError, errors.NodeDiedError, errors.OutOfMemoryError)
        self._idle = {pool: [self._start(pool) for _ in range(size)] for pool, size in sizes.items()}
        self._running: dict[Any, _Running] = {}
        self._deaths: Counter[WorkerTask] = Counter()

    def has_room(self, pool: str) -> bool:
        return bool(self._idle.get(pool))

    def submit(self, pool: str, task: WorkerTask) -> None:
        actor = self._idle[pool].pop()
        self._running[actor.work.remote(task)] = _Running(pool, actor, task)

    def wait(self) -> tuple[WorkerTask, TaskResult] | None:
        while self._running:
            (reference,), _ = self._ray.wait(list(self._running), num_returns=1)
            running = self._running.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._death as error:
                self._idle[running.pool].append(self._start(running.pool))
                self._deaths[running.task] += 1
                if self._deaths[running.task] < _TRIES:
                    self.submit(running.pool, running.task)
                    continue
                cause = str(error).strip().splitlines()[0]
                result = TaskResult(trace=cause) if isinstance(error, self._no_memory) else TaskResult(crash=cause)
            else:
                self._idle[running.pool].append(running.actor)
            self._deaths.pop(running.task, None)
            return running.task, result
        return None

    def close(self) -> None:
        self._ray.shutdown()

    def _start(self, pool: str) -> Any:
        return self._actor_class.options(**self._shares[pool]).remote(*self._make, pool)


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, make_worker: MakeWorker, lock_folder: Path, pool: str) -> None:
        self._lock = hold_worker_lock(lock_folder)
        self._threads = single_threaded()
        self._threads.__enter__()
        self._worker = make_worker(pool)

    def work(self, task: WorkerTask) -> TaskResult:
        return self._worker.work(task)


def connect(address: str | None, workers: int) -> dict[str, int]:
    """Join the cluster at ``address``, or start Ray on this machine alone for so many ``workers``; what there is of
    CPUs and GPUs. Neither usage statistics nor a dashboard. Raises ``ConfigError`` if there is no such cluster,
    ``DeviceError`` if Ray does not start here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    import ray

    if address is None:
        root = str(PACKAGE.parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        try:
            ray.init(
                "local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray gives its processes 30 s, and has no error of its own for it
            ray.shutdown()
            raise DeviceError(
                f"Ray's processes did not start: {(str(error).strip() or type(error).__name__).splitlines()[0]}",
                remedy="Try again when the machine is less busy, or do without Ray: --workers 0.",
            ) from error
    else:
        _join(ray, address)
    resources = ray.cluster_resources()
    return {CPU: int(resources.get("CPU", 0)), GPU: int(resources.get("GPU", 0))}


def _join(ray: Any, address: str) -> None:
    refused = getattr(ray.exceptions, "AuthenticationError", ConnectionError)  # there since clusters may have a token
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdigit():  # else Ray tries for ten minutes whether anybody is there
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
        ray.init(address, logging_level=logging.ERROR)
    except (OSError, ValueError, refused) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(f"There is no Ray cluster to work on at {address}: {cause}.", remedy=_START) from error

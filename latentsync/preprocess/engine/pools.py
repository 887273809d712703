"""Who does the work: this process, or Ray's workers on this machine or a cluster. Pools have names and sizes.

At most one task per worker is under way, so nothing piles up behind a slow stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from latentsync.media.threads import single_threaded
from latentsync.preprocess.engine.manifest import hold_worker_lock
from latentsync.preprocess.engine.worker import TaskResult, Worker, WorkerTask
from latentsync.runtime.cluster import Finished, RayActors, connect, first_line

CPU, GPU = "cpu", "gpu"  # pools; also what kind of device their networks run on

MakeWorker = Callable[[str], Worker]  # from the name of a pool

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


class RayPools:
    """Ray actors; ``sizes`` by pool. A worker whose process dies is replaced, and its task tried once more.

    If that dies too, the task is to blame (``TaskResult.crash``), unless Ray ended it because the machine was short of
    memory: that need not be the clip's fault, so it counts as not done (``TaskResult.trace``).
    """

    def __init__(
        self, sizes: Mapping[str, int], workers_per_gpu: int, make_worker: MakeWorker, lock_folder: Path
    ) -> None:
        import ray

        actor_class: Any = ray.remote(_Actor)
        shares: dict[str, dict[str, float]] = {
            CPU: {"num_cpus": 1},
            GPU: {"num_cpus": 0, "num_gpus": 1 / workers_per_gpu},
        }

        def start(pool: str) -> Any:
            return actor_class.options(**shares[pool]).remote(make_worker, lock_folder, pool)

        self._actors = RayActors(start, sizes, _TRIES)

    def has_room(self, pool: str) -> bool:
        return self._actors.has_room(pool)

    def submit(self, pool: str, task: WorkerTask) -> None:
        self._actors.submit(pool, task)

    def wait(self) -> tuple[WorkerTask, TaskResult] | None:
        while self._actors.busy:
            if (finished := self._actors.wait()) is not None:
                return finished.task, self._result(finished)
        return None

    def close(self) -> None:
        self._actors.close()

    def _result(self, finished: Finished) -> TaskResult:
        if finished.death is None:
            return finished.result
        cause = first_line(finished.death)
        return TaskResult(trace=cause) if self._actors.lacked_memory(finished) else TaskResult(crash=cause)


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, make_worker: MakeWorker, lock_folder: Path, pool: str) -> None:
        self._lock = hold_worker_lock(lock_folder)
        self._threads = single_threaded()
        self._threads.__enter__()
        self._worker = make_worker(pool)

    def work(self, task: WorkerTask) -> TaskResult:
        return self._worker.work(task)


def resources(address: str | None, workers: int) -> dict[str, int]:
    """What there is of CPUs and GPUs where ``runtime.cluster.connect`` leads, which see."""
    connect(address, workers, otherwise="--workers 0")
    import ray

    found = ray.cluster_resources()
    return {CPU: int(found.get("CPU", 0)), GPU: int(found.get("GPU", 0))}

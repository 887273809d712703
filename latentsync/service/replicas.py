"""Workers beyond one machine: Ray Serve keeps a replica of the worker for each device of a cluster, and starts another
where one dies.

The server keeps its store; an actor on its machine opens the same file for the replicas, which ask it over Ray what the
workers of one machine ask the file. Jobs lie in a folder that all machines see under one name and whose locks all of
them know, as those of a batch do.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from latentsync.errors import StoppedError
from latentsync.inference.job.networks import KeptNetworks
from latentsync.runtime.cluster import LOCAL, connect, first_line, shares_of
from latentsync.service.dubs import Models
from latentsync.service.job import ServiceSettings
from latentsync.service.runner import MakeNetworks
from latentsync.service.store import JobStore, open_store
from latentsync.service.supervisor import END_SECONDS
from latentsync.service.worker import POLL_SECONDS, Worker

ELSEWHERE = -1  # in place of the number of a process, which means nothing on another machine
FAULT_SECONDS = 5.0  # after a replica was lost
ANSWER_SECONDS = 3.0  # that the cluster may take to say which replicas run: a check of health waits for it
USED = {"has_work", "under_work", "claim", "get", "put_back", "finish", "drop", "report", "seen"}  # by a worker
logger = logging.getLogger(__name__)


class StoreAccess:
    """The store of ``folder``, for the workers of a cluster: an actor on the server's machine."""

    def __init__(self, folder: Path) -> None:
        self._store, self._ending = open_store(folder), False

    def call(self, name: str, values: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, bool]:
        """What a method of the store gives, and whether the server ends."""
        if name not in USED:
            raise AttributeError(f"no worker needs {name}")
        return getattr(self._store, name)(*values, **options), self._ending

    def end(self) -> None:
        """The server ends: whoever asks next is told so."""
        self._ending = True


class RemoteStore:
    """The methods of ``JobStore`` that a worker uses, by ``ask``: ``StoreAccess.call``, which raises
    ``ConnectionError`` where there is no server any more. ``end`` is called when the server ends or is lost."""

    def __init__(self, ask: Callable[..., tuple[Any, bool]], end: Callable[[], None]) -> None:
        self._ask, self._end = ask, end

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, name)

    def report(self, id: str, stage: str, done: int, total: int) -> bool:
        """See ``JobStore``; a job whose server is lost stops as one whose worker ends."""
        try:
            return bool(self._call("report", id, stage, done, total))
        except StoppedError:
            return True

    def seen(self, worker: str, device: str, pid: int, state: str) -> None:
        """See ``JobStore``."""
        self._call("seen", worker, device, ELSEWHERE, state)

    def _call(self, name: str, *values: Any, **options: Any) -> Any:
        try:
            found, ending = self._ask(name, values, options)
        except ConnectionError as error:
            self._end()
            raise StoppedError("The server of this worker has gone.") from error
        if ending:
            self._end()
        return found


class Replica:
    """The worker of a device, in a process of Ray Serve's; ``access`` is the actor of ``StoreAccess``."""

    def __init__(
        self, access: Any, settings: ServiceSettings, models: Models, device: str, make_networks: MakeNetworks
    ) -> None:
        import ray
        from ray import serve

        from latentsync.runtime.memory import keep_freed_memory

        def ask(*call: Any) -> tuple[Any, bool]:
            try:
                found: tuple[Any, bool] = ray.get(access.call.remote(*call))
            except ray.exceptions.RayActorError as error:
                raise ConnectionError(first_line(error)) from error
            return found

        keep_freed_memory()
        store = cast(JobStore, RemoteStore(ask, lambda: self._worker.end()))
        name = f"replica-{serve.get_replica_context().replica_tag}"
        self._worker = Worker(store, settings, models, name, device, make_networks=make_networks)
        self._worker.warm_up()

    def look(self) -> bool:
        """``Worker.look``."""
        return self._worker.look()


class Calls:
    """So many threads, each of which asks a replica to ``look`` for a job: again at once after one that it has done,
    else when they are woken, or after a second."""

    def __init__(self, look: Callable[[], bool], count: int) -> None:
        self._look, self._ending = look, threading.Event()
        self._woken = [threading.Event() for _ in range(count)]
        self._threads = [threading.Thread(target=self._ask, args=(woken,), daemon=True) for woken in self._woken]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be a job."""
        for woken in self._woken:
            woken.set()

    def end(self) -> None:
        """Ask no more, and wait for what is under way."""
        self._ending.set()
        self.wake()
        for thread in self._threads:
            thread.join(END_SECONDS)

    def _ask(self, woken: threading.Event) -> None:
        while not self._ending.is_set():
            woken.clear()
            try:
                found = self._look()
            except Exception as error:  # noqa: BLE001  of Ray's: another replica goes on with the job that it had
                if not self._ending.is_set():
                    logger.warning("A worker of the cluster was lost: %s", first_line(error))
                    self._ending.wait(FAULT_SECONDS)
                continue
            if not found and not self._ending.is_set():
                woken.wait(POLL_SECONDS)


class Count:
    """How many there are, by ``ask`` in a thread of its own: whoever wants to know waits so many ``seconds`` at most.

    No answer in time counts as none, and so does an error; while one is awaited, nobody asks again.
    """

    def __init__(self, ask: Callable[[], int], seconds: float = ANSWER_SECONDS) -> None:
        self._ask, self._seconds = ask, seconds
        self._lock = threading.Lock()
        self._asked: Future[int] | None = None

    def now(self) -> int:
        """The number."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._answer, args=(self._asked,), daemon=True).start()
            asked = self._asked
        try:
            return asked.result(self._seconds)
        except TimeoutError:
            logger.warning("The cluster does not say in %g s which workers run.", self._seconds)
        except Exception as error:  # noqa: BLE001  of Ray's
            logger.warning("The cluster does not say which workers run: %s", first_line(error))
        return 0

    def _answer(self, asked: Future[int]) -> None:
        try:
            asked.set_result(self._ask())
        except Exception as error:  # noqa: BLE001  told in ``now``
            asked.set_exception(error)


class ServeWorkers:
    """``Workers`` on the Ray cluster at ``address`` ('local': on this machine alone). ``device`` as in
    ``shares_of``."""

    def __init__(
        self,
        address: str,
        settings: ServiceSettings,
        models: Models,
        device: str,
        *,
        make_networks: MakeNetworks = KeptNetworks,
    ) -> None:
        self._address, self._settings, self._models = address, settings, models
        self._device, self._make_networks = device, make_networks
        self._name = "latentsync-" + blake2b(str(settings.folder).encode(), digest_size=6).hexdigest()
        self._beginning: threading.Thread | None = None
        self._calls: Calls | None = None
        self._handle: Any = None
        self._access: Any = None
        self._running = Count(self._replicas)

    def start(self) -> None:
        """Join the cluster and begin; the replicas load their networks meanwhile. Raises ``ConfigError`` and
        ``DeviceError``."""
        connect(None if self._address == LOCAL else self._address, os.cpu_count() or 1, otherwise="leave --ray out")
        import ray
        from ray import serve
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        shares = shares_of(ray.nodes(), self._device)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        access: Any = ray.remote(StoreAccess)
        self._access = access.options(
            num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1
        ).remote(self._settings.folder)
        serve.start(proxy_location="Disabled")
        deployment: Any = serve.deployment(
            num_replicas=shares.count,
            max_ongoing_requests=1,
            ray_actor_options={"num_cpus": shares.cpus, "num_gpus": shares.gpus},
            graceful_shutdown_timeout_s=END_SECONDS,
        )(Replica)
        wanted = deployment.bind(self._access, self._settings, self._models, shares.device, self._make_networks)
        self._beginning = threading.Thread(target=self._begin, args=(serve, wanted, shares.count), daemon=True)
        self._beginning.start()

    def _begin(self, serve: Any, wanted: Any, count: int) -> None:
        try:
            handle = serve.run(wanted, name=self._name, route_prefix=None)
        except Exception:
            logger.exception("The workers of the cluster do not start.")
            return
        self._handle = handle
        self._calls = Calls(lambda: bool(handle.look.remote().result()), count)
        self._calls.start()

    def wake(self) -> None:
        """See ``Workers``."""
        if self._calls is not None:
            self._calls.wake()

    def alive(self) -> int:
        """How many replicas run, as far as the cluster says it in time."""
        return self._running.now()

    def _replicas(self) -> int:
        from ray import serve

        application = serve.status().applications.get(self._name)
        if application is None:
            return 0
        states = [state for each in application.deployments.values() for state in each.replica_states.items()]
        return sum(count for state, count in states if state == "RUNNING")

    def end(self) -> None:
        """Have the replicas put down their work, end them, and leave the cluster."""
        import ray
        from ray import serve

        if self._access is not None:
            ray.get(self._access.end.remote())
        if self._calls is not None:
            self._calls.end()
            self._handle.shutdown()  # its thread must not outlive the connection to the cluster
        serve.delete(self._name)
        ray.shutdown()

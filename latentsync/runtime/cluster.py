"""Work spread by Ray over processes of this machine or of a cluster: joined by its address, a task at a time to each
actor, and actors that die replaced.

Whoever has tasks asks ``RayActors.has_room``, submits and waits. A task never waits in the queue of an actor: what a
lost machine takes with it is the one task that each of its actors had, and that is done again elsewhere.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from latentsync.errors import ConfigError, DeviceError
from latentsync.places import PACKAGE

logger = logging.getLogger(__name__)

LOCAL = "local"  # as an address: this machine alone
_OBJECT_STORE = 100 * 2**20  # bytes; only small values travel, Ray's default is a third of the memory
_SECONDS_TO_ANSWER = 10
_STARTS = 3  # of actors in succession that may fail
_START = (
    "Start it with 'ray start', or name another. If it has a token, set RAY_AUTH_MODE=token here and give this machine "
    "the cluster's ~/.ray/auth_token."
)


@dataclass(frozen=True, slots=True)
class ActorShares:
    """How many actors a cluster has room for, and what each of them takes."""

    count: int
    device: str  # as torch names its kind
    cpus: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A ``task`` with what its actor's ``work`` returned, or with the ``death`` of the last actor that tried it."""

    task: Any
    result: Any = None
    death: Exception | None = None


class RayActors:
    """Actors in pools of given ``sizes``; ``start(pool)`` makes one, whose method ``work(task)`` does a task.

    An actor whose process or machine dies is replaced as soon as there is room for another, and its task goes to
    whichever actor of the pool is free first, ``tries`` times in all. Raises ``DeviceError`` if actors do not start.
    """

    def __init__(self, start: Callable[[str], Any], sizes: Mapping[str, int], tries: int) -> None:
        import ray

        self._ray, self._make, self._tries = ray, start, tries
        errors = ray.exceptions
        self._no_memory = errors.OutOfMemoryError  # for Ray no kind of RayActorError
        self._death = (errors.RayActorError, errors.NodeDiedError, errors.OutOfMemoryError)
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._starting: dict[Any, tuple[str, Any]] = {}  # by the reference that is there when the actor is
        self._running: dict[Any, tuple[str, Any, Any, int]] = {}  # pool, actor, task, deaths of it
        self._again: dict[str, deque[tuple[Any, int]]] = defaultdict(deque)
        self._failed_starts = 0
        for pool, size in sizes.items():
            for _ in range(size):
                self._start(pool)

    @property
    def busy(self) -> bool:
        """Whether a task is under way, or waits to be tried again."""
        return bool(self._running) or any(self._again.values())

    @property
    def under_way(self) -> list[Any]:
        """The tasks that actors have."""
        return [task for _, _, task, _ in self._running.values()]

    def has_room(self, pool: str) -> bool:
        """Whether an actor of ``pool`` has nothing to do. Waits for one to start where nothing else is under way."""
        while not self._idle[pool]:
            ours = [reference for reference, (name, _) in self._starting.items() if name == pool]
            if not ours:
                return False
            ready, _ = self._ray.wait(ours, num_returns=1, timeout=0 if self.busy else None)
            if not ready:
                return False
            self._started(ready[0])
        return not self._again[pool]

    def submit(self, pool: str, task: Any) -> None:
        """Give a task to an actor of a pool that has room."""
        self._submit(pool, task, 0)

    def wait(self) -> Finished | None:
        """The next task to be finished. None if there is none, or an actor has become free without one: ``busy``
        says which. What ``work`` raises is raised here."""
        for pool, tasks in self._again.items():
            while tasks and self._idle[pool]:
                self._submit(pool, *tasks.popleft())
        if not self.busy:
            return None
        (reference,), _ = self._ray.wait([*self._running, *self._starting], num_returns=1)
        if reference in self._starting:
            self._started(reference)
            return None
        pool, actor, task, deaths = self._running.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._death as error:
            self._start(pool)
            if deaths + 1 < self._tries:
                self._again[pool].append((task, deaths + 1))
                return None
            return Finished(task, death=error)
        self._idle[pool].append(actor)
        return Finished(task, result)

    def lacked_memory(self, finished: Finished) -> bool:
        """Whether Ray ended the actor because its machine was short of memory, which need not be the task's fault."""
        return isinstance(finished.death, self._no_memory)

    def close(self) -> None:
        """End all actors, with whatever they are doing, and leave the cluster."""
        self._ray.shutdown()

    def _submit(self, pool: str, task: Any, deaths: int) -> None:
        actor = self._idle[pool].pop()
        self._running[actor.work.remote(task)] = pool, actor, task, deaths

    def _start(self, pool: str) -> None:
        actor = self._make(pool)
        self._starting[actor.__ray_ready__.remote()] = pool, actor

    def _started(self, reference: Any) -> None:
        pool, actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._death as error:
            self._failed_starts += 1
            logger.warning("A worker did not start: %s", first_line(error))
            if self._failed_starts >= _STARTS:
                raise DeviceError(
                    f"Ray's workers do not start: {first_line(error)}",
                    remedy="Every machine of the cluster needs this program and its packages; see Ray's own logs.",
                ) from error
            self._start(pool)
        else:
            self._failed_starts = 0
            self._idle[pool].append(actor)


def first_line(error: BaseException) -> str:
    """Of what an error of Ray's says, which is often a page."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def connect(address: str | None, workers: int, gpus: int | None = None, otherwise: str = "") -> None:
    """Join the cluster at ``address``, or start Ray on this machine alone for so many ``workers`` and ``gpus`` (None:
    those that it finds). Neither usage statistics nor a dashboard.

    Raises ``ConfigError`` if there is no such cluster, ``DeviceError`` if Ray does not start here; ``otherwise`` is how
    to do without it.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    import ray

    if address is not None:
        with _own_signals():
            _join(ray, address)
        return
    root = str(PACKAGE.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        with _own_signals():
            ray.init(
                "local",
                num_cpus=workers,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray gives its processes 30 s, and has no error of its own for it
        ray.shutdown()
        raise DeviceError(
            f"Ray's processes did not start: {first_line(error)}",
            remedy=f"Try again when the machine is less busy, or do without Ray: {otherwise}.",
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM means what it meant before the block: what Ray puts in its place aborts the process after three seconds,
    in which a server cannot put down its work."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _join(ray: Any, address: str) -> None:
    refused = getattr(ray.exceptions, "AuthenticationError", ConnectionError)  # there since clusters may have a token
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdigit():  # else Ray tries for ten minutes whether anybody is there
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
        ray.init(address, logging_level=logging.ERROR)
    except (OSError, ValueError, refused) as error:
        cause = first_line(error).rstrip(".")
        raise ConfigError(f"There is no Ray cluster to work on at {address}: {cause}.", remedy=_START) from error


def shares_of(nodes: list[dict[str, Any]], device: str) -> ActorShares:
    """The actors that there is room for on ``nodes``, as ``ray.nodes`` lists them. Each has the same number of
    processors: what the machine with the fewest has for a device. Raises ``DeviceError`` where nothing can work."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if device != "cpu":
        with_gpus = [node for node in alive if node.get("GPU", 0) >= 1]
        if with_gpus:
            cpus = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
            return ActorShares(sum(int(node["GPU"]) for node in with_gpus), "cuda", cpus, 1)
        if device != "auto":
            raise DeviceError(f"The cluster has no GPU for --device {device}.", remedy="Use --device auto or cpu.")
    counts = [int(node["CPU"]) for node in alive if node.get("CPU", 0) >= 1]
    if not counts:
        raise DeviceError("The cluster has neither processors nor GPUs to work with.", remedy="Add a machine to it.")
    return ActorShares(sum(count // min(counts) for count in counts), "cpu", min(counts), 0)

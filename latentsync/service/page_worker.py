"""A worker in the process of the server, whose jobs take turns with those of the page: both use the same networks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Protocol

from latentsync.inference.job.networks import Networks
from latentsync.inference.job.progress import RunControl
from latentsync.service.supervisor import END_SECONDS
from latentsync.service.worker import Worker

AFTER_FAULT = 10.0  # s
logger = logging.getLogger(__name__)


class PageJobs(Protocol):
    """What a worker uses of the page's jobs (``page.jobs.JobQueue``)."""

    def renew_networks(self) -> Networks:
        """Others in place of those that are loaded."""

    def lend(self, control: RunControl, work: Callable[[], object]) -> Any:
        """Have work done when its turn comes: what is given has its ``future``."""

    def take_back(self, ticket: Any) -> None:
        """End what was lent."""


class PageWorker:
    """Works as ``Workers`` do, in the thread of the page's jobs. ``make_worker`` takes the last two arguments of
    ``Worker``; the page must be served from ``start`` to ``end``."""

    def __init__(self, jobs: PageJobs, make_worker: Callable[..., Worker]) -> None:
        self._jobs = jobs
        self._worker = make_worker(make_networks=jobs.renew_networks, in_turn=self._in_turn)
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._ticket: Any = None

    def start(self) -> None:
        """Load the networks, and begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be a job."""
        self._worker.wake()

    def alive(self) -> int:
        """How many run."""
        return int(self._thread.is_alive())

    def end(self) -> None:
        """Put the work down at its next step, and wait for it."""
        with self._lock:
            self._ending.set()
            ticket = self._ticket
        self._worker.end()
        if ticket is not None:
            self._jobs.take_back(ticket)
        self._thread.join(END_SECONDS)

    def _work(self) -> None:
        try:
            self._in_turn(self._warm_up)
        except Exception:
            logger.exception("The networks cannot be loaded; the first job tries it again.")
        while not self._ending.is_set():
            try:
                self._worker.work()
            except Exception:
                logger.exception("The worker met a fault of this program; it goes on in %.0f s.", AFTER_FAULT)
                self._ending.wait(AFTER_FAULT)

    def _warm_up(self) -> bool:
        self._worker.warm_up()
        return True

    def _in_turn(self, work: Callable[[], bool]) -> bool:
        """What ``work`` gives in the thread of the page's jobs; False if this ends before its turn."""
        with self._lock:
            if self._ending.is_set():
                return False
            ticket = self._ticket = self._jobs.lend(RunControl(), work)
        try:
            return bool(ticket.future.result())
        except CancelledError:
            return False

"""The workers of a server: a process for each device, started again when it dies, ended with the server.

A worker reads its standard input: each line tells it that there may be a job, and its end that the server has gone,
also if that was killed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from latentsync.places import PACKAGE
from latentsync.service.worker import Worker

END_SECONDS = 60.0  # for a worker to reach the next step of the network, and to write down what is finished
SHORT_LIFE = 30.0  # s: who dies sooner is started again later and later
LONGEST_PAUSE = 60.0  # s
WATCH_SECONDS = 0.5
logger = logging.getLogger(__name__)


class Workers(Protocol):
    """Who does the jobs of a server, from ``start`` to ``end``."""

    def start(self) -> None:
        """Begin."""

    def wake(self) -> None:
        """Tell all workers that there may be a job."""

    def alive(self) -> int:
        """How many run."""

    def end(self) -> None:
        """Have all put down their work, and wait for it."""


class SeveralWorkers:
    """Workers of several kinds as one."""

    def __init__(self, *parts: Workers) -> None:
        self._parts = parts

    def start(self) -> None:
        """See ``Workers``."""
        for part in self._parts:
            part.start()

    def wake(self) -> None:
        """See ``Workers``."""
        for part in self._parts:
            part.wake()

    def alive(self) -> int:
        """See ``Workers``."""
        return sum(part.alive() for part in self._parts)

    def end(self) -> None:
        """See ``Workers``."""
        for part in self._parts:
            part.end()


class Supervisor:
    """Keeps a process running for each of the ``commands``, while ``start`` and ``end`` enclose it."""

    def __init__(self, commands: Sequence[list[str]]) -> None:
        self._commands = commands
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(commands)
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(each,), daemon=True) for each in range(len(commands))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Tell all workers that there may be a job."""
        for process in self._alive():
            try:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
            except (OSError, ValueError):
                logger.debug("A worker has just ended.")

    def alive(self) -> int:
        """How many run."""
        return len(self._alive())

    def end(self) -> None:
        """Have all put down their work, and wait for it."""
        self._ending.set()
        for process in self._alive():
            process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for process in self._alive():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join(END_SECONDS)

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        with self._lock:
            return [process for process in self._processes if process is not None and process.poll() is None]

    def _keep(self, number: int) -> None:
        pause = 0.5
        paths = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        while not self._ending.is_set():
            begun = time.monotonic()
            with self._lock:
                process = subprocess.Popen(
                    self._commands[number], stdin=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}
                )
                self._processes[number] = process
            while process.poll() is None and not self._ending.wait(WATCH_SECONDS):
                pass
            if self._ending.is_set():
                return
            logger.warning("Worker %d has ended with %s and is started again.", number, process.returncode)
            pause = 0.5 if time.monotonic() - begun > SHORT_LIFE else min(LONGEST_PAUSE, 2 * pause)
            self._ending.wait(pause)


def run_worker(worker: Worker) -> None:
    """Work in this process, as the server asks for it by standard input, until that ends or Ctrl-C comes."""

    ended = threading.Event()

    def listen() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            worker.wake()
        worker.end()

    def work() -> None:
        try:
            worker.work()
        finally:
            ended.set()

    threading.Thread(target=listen, daemon=True).start()
    threading.Thread(target=work).start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        worker.end()
        ended.wait()  # of an event: a thread whose ``join`` was interrupted counts as ended

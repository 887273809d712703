"""What the server does beside answering, each piece in a thread of a small pool: fetching, webhooks, clearing up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
AFTER_FAULT = 30.0  # s


class Errands(Generic[T]):
    """Looks for what is ``due`` every ``seconds`` and when it is woken, and does each piece by ``run``.

    ``name_of`` tells pieces apart, so that none is done twice at one time.
    """

    def __init__(
        self,
        name: str,
        due: Callable[[], Iterable[T]],
        name_of: Callable[[T], str],
        run: Callable[[T], None],
        threads: int = 4,
        seconds: float = 1.0,
    ) -> None:
        self._due, self._name_of, self._run, self._seconds = due, name_of, run, seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._thread = threading.Thread(target=self._look, name=name, daemon=True)
        self._woken, self._ending = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def end(self) -> None:
        """Begin nothing more, and wait for what runs."""
        self._ending.set()
        self._woken.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look(self) -> None:
        while not self._ending.is_set():
            seconds = self._seconds
            try:
                self._begin()
            except Exception:
                logger.exception("What is due cannot be found out; it is tried again in %.0f s.", AFTER_FAULT)
                seconds = AFTER_FAULT
            self._woken.wait(seconds)
            self._woken.clear()  # after it, so that no call that came meanwhile is lost

    def _begin(self) -> None:
        for piece in self._due():
            name = self._name_of(piece)
            with self._lock:
                if name in self._running:
                    continue
                self._running.add(name)
            self._pool.submit(self._do, name, piece)

    def _do(self, name: str, piece: T) -> None:
        try:
            self._run(piece)
        except Exception:
            logger.exception("An errand failed; it is tried again while it is due.")
        finally:
            with self._lock:
                self._running.discard(name)

"""Joining generators into a pipeline whose stages run side by side, in constant memory.

``prefetch`` is the only place of the package that starts threads for streaming.
"""

from __future__ import annotations

import atexit
import functools
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn, TypeVar

T = TypeVar("T")
U = TypeVar("U")

_END = object()
_PRODUCER = "prefetch"  # name of the threads
CLOSE_SECONDS = 1.0  # how long a consumer that stops early waits for its producer; a network's step may take longer
EXIT_SECONDS = 60.0  # how long the end of the interpreter waits for the producers of iterators that were left open
_consumed: dict[threading.Thread, threading.Event] = {}  # producers whose consumer is none -> what stops them


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Run ``items`` in a thread of its own, at most ``depth`` values ahead of the consumer.

    Order is kept, an exception of the producer is raised at the consumer's next step, and a consumer that stops early
    (``close()``, an exception, Ctrl-C) stops the producer: its ``finally`` blocks run in its own thread, which is
    waited for up to ``CLOSE_SECONDS``. The thread starts at the first step, so building a chain costs nothing. An
    iterator that is still open when the interpreter ends is stopped then.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                ready.put(value, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    break
            else:
                put(_END)
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            put(_Failure(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name=_PRODUCER, daemon=True)
    if threading.current_thread().name != _PRODUCER:  # otherwise its consumer stops it
        _stop_at_exit()
        _consumed[thread] = stop
    thread.start()
    try:
        while True:
            item = ready.get()
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join(CLOSE_SECONDS)
        _consumed.pop(thread, None)


@functools.cache
def _stop_at_exit() -> None:
    """Stop all producers before the interpreter ends. A thread that comes back from native code after that is ended by
    force, which the C++ of PyTorch and FFmpeg's bindings answer by aborting the process."""
    atexit.register(_stop_all)


def _stop_all() -> None:
    deadline = time.monotonic() + EXIT_SECONDS
    for stop in list(_consumed.values()):
        stop.set()
    for thread in threading.enumerate():  # those that a consumer has given up waiting for as well
        if thread.name == _PRODUCER:
            thread.join(max(0.0, deadline - time.monotonic()))


def parallel_map(
    function: Callable[[T], U], items: Iterable[T], workers: int = 2, depth: int | None = None
) -> Iterator[U]:
    """``map`` over a pool of threads, results in order, at most ``depth`` items in flight (default: ``workers`` + 1).

    For functions that release the interpreter lock (OpenCV, NumPy, torch). The first failure is raised in its place.
    """
    depth = depth or workers + 1
    pending: deque[Future[U]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="parallel_map") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def deal(
    items: Iterable[T], count: int, takers: Callable[[T], Iterable[int]] | None = None
) -> list[Iterator[T]]:
    """``count`` iterators over ``items``, each of which may be consumed in a thread of its own.

    ``takers``: which of them get an item, by their numbers; None: all do. An item is produced when one of those that it
    is for asks for it, in the thread that asks, and waits for the others; so they must be consumed at about the same
    pace. An exception of the producer is raised in all of them.
    """
    source, lock = iter(items), threading.Lock()
    waiting: list[deque[T]] = [deque() for _ in range(count)]
    ended: list[BaseException] = []

    def branch(number: int) -> Iterator[T]:
        while True:
            with lock:
                while not waiting[number] and not ended:
                    try:
                        item = next(source)
                    except BaseException as error:  # noqa: BLE001  raised below, in every branch
                        ended.append(error)
                        break
                    for taker in range(count) if takers is None else takers(item):
                        waiting[taker].append(item)
                if not waiting[number]:
                    if isinstance(ended[0], StopIteration):
                        return
                    raise ended[0]
                item = waiting[number].popleft()
            yield item

    return [branch(number) for number in range(count)]


def exit_process(code: int) -> NoReturn:
    """End the process with ``code``; for the end of a program that streams.

    A producer that was given up may still be in the middle of a network's step. Python would take the interpreter away
    from under it, and PyTorch then aborts the process with a code of its own.
    """
    if any(thread.name == _PRODUCER for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)

"""Jobs that outlive the connection of their visitor: who comes back in time finds the work, or its result, again."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from latentsync.errors import LatentSyncError
from latentsync.inference.job.progress import Progress, ProgressMeter
from latentsync.inference.job.report import RunReport
from latentsync.page.fair_queue import FairQueue, Ticket, Visitor, Waiting
from latentsync.page.request import JobRequest
from latentsync.page.visitors import VisitorFolders, may_return

TICK = 0.25  # s between two looks at a run
GRACE_SECONDS = 3600.0  # that a job goes on, or its result stays, while nobody follows it
LEFT_JOBS_INTERVAL = 1.0  # s between two looks for jobs that were left
MOST_SEEN = 500  # finished jobs that were seen and can still be opened again
_NAME_BYTES = 24  # of chance in the name of a job


class JobGoneError(LatentSyncError):
    """There is no such job, or it is not the visitor's."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """A finished job. ``figures``: the account as JSON, also in ``figures_file``; ``start``: second of the whole result
    that the video begins with; ``overview``: an image with a row a second (``inference.overview``), if that file is
    there. No path of the server is in ``figures``."""

    video: Path
    report: RunReport
    figures: dict[str, Any]
    figures_file: Path
    start: float
    overview: Path


Report: TypeAlias = Progress | Waiting | JobResult


class Job:
    """What a visitor asked for, its place in ``queue``, and how far it is."""

    def __init__(
        self, request: JobRequest, queue: FairQueue, ticket: Ticket, meter: ProgressMeter, folders: VisitorFolders
    ) -> None:
        self.request, self.ticket = request, ticket
        self.seen = False  # whether somebody got the result
        self._queue, self._meter, self._folders = queue, meter, folders

    def reports(self) -> Generator[Report, None, None]:
        """How far it is now and then, and its ``JobResult`` at the end. Raises what the work raises, and
        ``StoppedError`` without waiting for the work to end."""
        future = self.ticket.future
        while not future.done():
            self.ticket.control.check()
            ahead = self._queue.ahead(self.ticket)
            yield Waiting(ahead) if ahead and not future.running() else self._meter.reading
            wait([future], TICK)
        if future.cancelled():  # by another page that follows it
            self.ticket.control.check()
        result = future.result()
        self.seen = True
        yield result

    def hand_over(self, visitor: Visitor) -> None:
        """It is another session's from now on."""
        self._queue.hand_over(self.ticket, visitor)

    def end(self) -> None:
        """Take it out of the queue, or end the work at the next step of the network. A result that nobody has seen is
        removed."""
        self._queue.leave(self.ticket)
        if not self.seen:  # done all the same, maybe, at the moment when nobody wanted it any more
            self.ticket.future.add_done_callback(self._discard_result)

    def _discard_result(self, future: Future[JobResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._folders.discard(future.result().video.parent)


@dataclass(eq=False, slots=True)
class KeptJob:
    """A job of the page. ``sessions`` are those that follow it now; ``left`` is when the last of them went."""

    job: Job
    owner: str
    left: float
    sessions: list[str] = field(default_factory=list)

    @property
    def awaits_its_visitor(self) -> bool:
        """Whether nobody follows it and nobody has seen what came of it."""
        return not self.sessions and not self.job.seen

    @property
    def is_lost(self) -> bool:
        """Whether there was a result whose files are gone."""
        return self.job.seen and not self.job.ticket.future.result().video.is_file()


class KeptJobs:
    """Jobs by names that cannot be guessed. A job that nobody follows for ``grace_seconds`` is ended.

    What has been seen stays as long as its files do, so that its page can be opened again.
    """

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace_seconds, self._clock = grace_seconds, clock
        self._lock = threading.Lock()
        self._kept: dict[str, KeptJob] = {}

    def keep(self, job: Job) -> str:
        """The name by which the job is found again."""
        name = secrets.token_urlsafe(_NAME_BYTES)
        kept = KeptJob(job, job.ticket.visitor.address, self._clock())
        with self._lock:
            self._kept[name] = kept
        job.ticket.future.add_done_callback(lambda _: self._finished(kept))
        return name

    def find(self, name: str, visitor: Visitor) -> KeptJob:
        """Raises ``JobGoneError`` if there is no such job, or the visitor may not see it."""
        with self._lock:
            return self._find(name, visitor)

    def follow(self, name: str, visitor: Visitor) -> Generator[Report, None, None]:
        """As ``Job.reports``. Closing the iterator leaves the job, which goes on for a while; one that has failed or
        was stopped is forgotten when that has been said. Raises ``JobGoneError``."""
        with self._lock:
            kept = self._find(name, visitor)
            kept.sessions.append(visitor.session)
        kept.job.hand_over(visitor)
        try:
            yield from kept.job.reports()
        except Exception:
            self._end(name)
            raise
        finally:
            with self._lock:
                kept.sessions.remove(visitor.session)
                kept.left = self._clock()

    def stop(self, session: str) -> None:
        """Stop what a session follows."""
        with self._lock:
            followed = [kept.job for kept in self._kept.values() if session in kept.sessions]
        for job in followed:
            job.ticket.control.stop()

    def end_left(self) -> None:
        """End the jobs that were left for too long, and forget those whose files are gone."""
        with self._lock:
            over = self._clock() - self.grace_seconds
            left = [name for name, kept in self._kept.items() if kept.awaits_its_visitor and kept.left < over]
            lost = [name for name, kept in self._kept.items() if kept.is_lost]
            seen = [name for name, kept in self._kept.items() if kept.job.seen and not kept.sessions]
            ended = [self._kept.pop(name).job for name in {*left, *lost, *seen[:-MOST_SEEN]}]
        for job in ended:
            job.end()

    def _find(self, name: str, visitor: Visitor) -> KeptJob:
        kept = self._kept.get(name)
        if kept is None or kept.is_lost or not may_return(kept.owner, visitor.address):
            raise JobGoneError("The job of this address is not here any more.", remedy="Begin a new one.")
        return kept

    def _finished(self, kept: KeptJob) -> None:
        """Nobody could have seen the result before: the time to come back for it begins."""
        with self._lock:
            kept.left = self._clock()

    def _end(self, name: str) -> None:
        with self._lock:
            kept = self._kept.pop(name, None)
        if kept is not None:
            kept.job.end()

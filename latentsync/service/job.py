"""A job of the service as everybody sees it: what was asked for, whose it is, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from latentsync.errors import DeadlineError, LatentSyncError
from latentsync.media.limits import MediaLimits

RESULT = "result.mp4"  # in the folder of a job
LOADING, UNABLE = "loading", "unable"  # what a worker does that takes no job: it loads its networks, or failed to


class JobStatus(StrEnum):
    """The statuses of sync.so's interface. ``REJECTED``: an input is refused; ``FAILED``: everything else that ends a
    job without a result."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (JobStatus.PENDING, JobStatus.PROCESSING)


@dataclass(frozen=True, slots=True)
class Job:
    """``key``: name of the key that it belongs to. ``request``: the body of the request, checked. Times in seconds
    since 1970. ``fetched``: its inputs are here. ``stopped``: somebody deleted it while it was worked on. ``turn``:
    when its time comes (``store``). ``priority`` orders the jobs of a key; a job that has not begun at its ``deadline``
    fails. ``done`` and ``total`` count frames; ``seconds``: length of the result. ``error``:
    class, message and remedy (``job.folder.described``).
    """

    id: str
    key: str
    status: JobStatus
    request: Mapping[str, Any]
    base_url: str
    created: float
    turn: int
    fetched: bool = True
    stopped: bool = False
    begun: float | None = None
    ended: float | None = None
    worker: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    seconds: float | None = None
    error: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    priority: float = 0.0
    deadline: float | None = None

    @property
    def share(self) -> float:
        """Of the work that is done, 0 to 1."""
        if self.status is JobStatus.COMPLETED:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """``folder``: of everything that the service keeps. ``waiting``: jobs of all keys that may wait.

    ``keep_seconds``: how long results and uploads that no job needs are kept. ``upload_seconds``: for one request with
    a body to arrive. ``reserve``: bytes of the disk that stay free. ``url_inputs``: whether inputs may be named by
    their address, ``fetch_seconds``: for one of them to arrive; ``private_addresses``: whether they and webhooks may
    lie in private networks. ``public_url``: where clients find this service, '' for what each of them calls it.
    ``default_model``: of ``models.Models``, '' for the first one.
    """

    folder: Path
    waiting: int = 50
    keep_seconds: float = 24 * 3600.0
    upload_seconds: float = 3600.0
    reserve: int = 10**9
    url_inputs: bool = False
    fetch_seconds: float = 600.0
    private_addresses: bool = False
    public_url: str = ""
    limits: MediaLimits = field(default_factory=MediaLimits)
    default_model: str = ""
    preset: str | None = None

    def job_folder(self, job: str) -> Path:
        """Of the job with this id: its inputs, its journal, its result."""
        return self.folder / "jobs" / job

    def upload_folder(self, key: str) -> Path:
        """Of what a key has uploaded."""
        return self.folder / "uploads" / key

    def result_file(self, job: str) -> Path:
        """The result of a job."""
        return self.job_folder(job) / RESULT


class RequestRefusedError(LatentSyncError):
    """A request that is not granted. ``status``: of HTTP; ``retry_after``: seconds after which it may be."""

    def __init__(self, message: str, *, remedy: str = "", status: int = 400, retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.retry_after = status, retry_after


def deadline_missed(deadline: float) -> DeadlineError:
    """The error of a job that has not begun at its deadline (seconds of ``time.time``)."""
    when = datetime.fromtimestamp(deadline).astimezone().isoformat(" ", "minutes")
    return DeadlineError(f"Its deadline, {when}, had passed before it began.", remedy="Give it a later one.")

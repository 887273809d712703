"""The jobs of a batch: what is asked for, in which order, and where the files are that lie at addresses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from latentsync.errors import LatentSyncError
from latentsync.inference.job.request import DubRequest


@dataclass(frozen=True, slots=True)
class BatchJob:
    """``name`` is that of its folder. ``request``: None if it could not be understood, for the reason ``fault``.

    ``urls``: fields of the request, such as 'video', whose files are fetched from an address first. ``output_url``:
    where the result goes if not to ``request.output``. Jobs of a higher ``priority`` come first, among these the ones
    of an earlier ``deadline`` (seconds of ``time.time``), after which the job is not begun any more.
    """

    name: str
    request: DubRequest | None
    fault: LatentSyncError | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    output_url: str = ""
    priority: float = 0.0
    deadline: float | None = None

    @property
    def output(self) -> str:
        """Where the result is; empty for a job that could not be understood."""
        return self.output_url or ("" if self.request is None else str(self.request.output))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the summary. ``skipped``: it was there already, of the same files, options and weights. ``late``: done
    after its deadline."""

    name: str
    state: str
    output: str
    seconds: float
    attempts: int
    skipped: bool
    late: bool
    error: str
    remedy: str
    exit_code: int


def in_order(jobs: Iterable[BatchJob]) -> list[BatchJob]:
    """By priority, then by deadline, then as given."""
    return sorted(jobs, key=lambda job: (-job.priority, math.inf if job.deadline is None else job.deadline))

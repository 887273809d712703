"""Many dubs with the networks loaded once, safe against being killed, in any number of processes.

Every job has a folder (``job.folder``), and a process works on the jobs whose locks it gets: so several processes, one
for each device, share a batch without speaking to each other, also from several machines on a shared disk that knows
locks. A process that is killed loses its locks, and whoever comes by does the job again. What is done is known by its
content: the files, options and weights that it is made of.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import LatentSyncError, OutputError, StoppedError
from latentsync.inference.job.folder import JobFolder, State
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.service.runner import ATTEMPTS, JobRunner

JOBS = ".jobs"  # folder of the jobs' folders in that of the batch
POLL_SECONDS = 0.5  # between two looks at the jobs of other processes


@dataclass(frozen=True, slots=True)
class BatchJob:
    """``name`` is that of its folder. ``request``: None if it could not be understood, for the reason ``fault``."""

    name: str
    request: DubRequest | None
    fault: LatentSyncError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the summary. ``skipped``: it was there already, of the same files, options and weights."""

    name: str
    state: str
    output: str
    seconds: float
    attempts: int
    skipped: bool
    error: str
    remedy: str
    exit_code: int


class Batch:
    """The ``jobs`` of one run, with their folders under ``folder``; processes of one run have the same name ``run``.

    ``say`` gets a line for each job that is settled. ``make_networks`` keeps networks in memory; tests put stubs there.
    """

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        folder: Path,
        *,
        run: str = "",
        attempts: int = ATTEMPTS,
        say: Callable[[str], None] = print,
        make_networks: Callable[[], KeptNetworks] = KeptNetworks,
    ) -> None:
        self.jobs, self.folder = list(jobs), folder
        self.run = run or secrets.token_hex(8)
        self._runner, self._say = JobRunner(self.run, attempts, make_networks), say
        self._settled = 0
        self.skipped: set[str] = set()

    def work(self) -> None:
        """Do every job that is neither done nor worked on by another process, and wait for those; one that fails ends
        no other. Raises ``OutputError`` if the folder cannot be written or knows no locks."""
        self._require_locks()
        left = self.jobs
        while left:
            held = [job for job in left if not self._settle(job)]
            if len(held) == len(left):
                time.sleep(POLL_SECONDS)
            left = held

    def outcomes(self) -> list[Outcome]:
        """What became of each job, by any process."""
        rows = []
        for job in self.jobs:
            found = self._place(job).read()
            error = found.error or {}
            rows.append(
                Outcome(
                    name=job.name,
                    state=str(found.state),
                    output="" if job.request is None else str(job.request.output),
                    seconds=round(found.seconds, 3),
                    attempts=found.attempts,
                    skipped=job.name in self.skipped,
                    error=error.get("message", ""),
                    remedy=error.get("remedy", ""),
                    exit_code=error.get("exit_code", 0),
                )
            )
        return rows

    def _place(self, job: BatchJob) -> JobFolder:
        return JobFolder(self.folder / JOBS / job.name)

    def _require_locks(self) -> None:
        trial = JobFolder(self.folder / JOBS / f".trial-{secrets.token_hex(4)}")
        try:
            with trial.hold() as held:
                pass
            (trial.path / "lock").unlink(missing_ok=True)
            trial.path.rmdir()
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written: {error}.", remedy="Choose another --out.") from error
        if not held:
            raise OutputError(f"The disk of {self.folder} knows no locks.", remedy="Choose an --out on another one.")

    def _settle(self, job: BatchJob) -> bool:
        """Whether nothing is left to be done for the job; False if another process works on it."""
        place = self._place(job)
        with place.hold() as held:
            if not held:
                return False
            try:
                said = self._do(job, place)
            except LatentSyncError as error:
                if isinstance(error, StoppedError):
                    raise
                said = self._runner.fail(place, place.read(), error).said
        self._settled += 1
        if said:
            self._say(f"{self._settled}/{len(self.jobs)} {job.name}: {said}")
        return True

    def _do(self, job: BatchJob, place: JobFolder) -> str:
        """Do the job unless it is done; returns what to say. Raises what is wrong with the job itself."""
        if job.request is None:
            assert job.fault is not None
            raise job.fault
        settled = self._runner.do(job.request, place)
        if settled.skipped:
            self.skipped.add(job.name)
        return settled.said


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of summary.json: counts, and every job."""
    states = [outcome.state for outcome in outcomes]
    counts = {str(state): states.count(state) for state in State}
    skipped = sum(outcome.skipped for outcome in outcomes)
    return {"jobs": len(states), **counts, "skipped": skipped, "rows": [asdict(outcome) for outcome in outcomes]}

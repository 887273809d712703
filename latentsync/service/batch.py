"""Many dubs with the networks loaded once, safe against being killed, in any number of processes.

Every job has a folder (``job.folder``), and a process works on the jobs whose locks it gets: so several processes, one
for each device, share a batch without speaking to each other, also from several machines on a shared disk that knows
locks. A process that is killed loses its locks, and whoever comes by does the job again. What is done is known by its
content: the files, options and weights that it is made of.
"""

from __future__ import annotations

import secrets
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.errors import LatentSyncError, OutOfMemoryError, OutputError, StoppedError, VideoError
from latentsync.inference.job.dub import dub
from latentsync.inference.job.folder import JobFolder, JobState, State, described, digest, ingredients, stamp
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.weights import WeightPaths, with_checksums

JOBS = ".jobs"  # folder of the jobs' folders in that of the batch
ATTEMPTS = 3  # of a job that fails of what may pass, or during which the process is killed
POLL_SECONDS = 0.5  # between two looks at the jobs of other processes
PASSING = (OutOfMemoryError, MemoryError)  # what may not happen again


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
        self._attempts, self._say, self._make_networks = attempts, say, make_networks
        self._networks = make_networks()
        self._checksums: dict[WeightPaths, Mapping[str, str]] = {}
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
                said = self._fail(place, place.read(), error)
        self._settled += 1
        if said:
            self._say(f"{self._settled}/{len(self.jobs)} {job.name}: {said}")
        return True

    def _do(self, job: BatchJob, place: JobFolder) -> str:
        """Do the job unless it is done; returns what to say, nothing of what another process of this run has settled.
        Raises what is wrong with the job itself."""
        found = place.read()
        if job.request is None:
            assert job.fault is not None
            raise job.fault
        made_of, now = self._made_of(job.request), stamp(job.request.output)
        same = found.made_of == made_of
        if same and found.state is State.DONE and now is not None and now == found.result:
            if found.run == self.run:
                return ""
            self.skipped.add(job.name)
            return "is there already"
        killed = found.state is State.RUNNING
        if same and killed and now is not None and now != found.before:  # between the result and the journal
            place.write(replace(found, state=State.DONE, result=now, error=None))
            return "was finished when the process was killed"
        if same and found.state is State.FAILED and found.run == self.run:
            return ""
        attempts = found.attempts if same and killed else 0
        ours = now is not None and (now == found.result or (killed and now != found.before))  # may be replaced
        request = replace(job.request, segments=place.segments, overwrite=ours or job.request.overwrite)
        begun = JobState(State.RUNNING, made_of, attempts, self.run, before=now, result=found.result)
        if attempts >= self._attempts:
            error = OutOfMemoryError(
                f"The process was killed {attempts} times while it worked on this job.",
                remedy="See whether the machine has too little memory for it, and run it alone with `latentsync dub`.",
            )
            return self._fail(place, begun, error)
        return self._attempt(place, begun, request)

    def _attempt(self, place: JobFolder, begun: JobState, request: DubRequest) -> str:
        start = time.monotonic()
        while True:
            begun = replace(begun, attempts=begun.attempts + 1)
            place.write(begun)
            request.output.parent.mkdir(parents=True, exist_ok=True)
            try:
                report = dub(request, networks=self._networks)
            except (StoppedError, KeyboardInterrupt):
                place.write(replace(begun, state=State.WAITING))
                raise
            except PASSING as error:
                self._networks = self._make_networks()  # memory is free again before the next attempt
                if begun.attempts >= self._attempts:
                    return self._fail(place, begun, error)
            except LatentSyncError as error:
                return self._fail(place, begun, error)
            except Exception as error:  # noqa: BLE001  a fault of ours ends one job, not a night's work
                self._networks = self._make_networks()  # nobody knows what state they were left in
                write_text(place.traceback_file, traceback.format_exc())
                return self._fail(place, begun, error)
            else:
                write_text(place.report_file, report.to_json(), errors="backslashreplace")
                seconds = time.monotonic() - start
                done = replace(begun, state=State.DONE, result=stamp(request.output), seconds=seconds, error=None)
                place.write(done)
                return f"{seconds:.1f} s"

    def _fail(self, place: JobFolder, begun: JobState, error: BaseException) -> str:
        about = described(error)
        place.write(replace(begun, state=State.FAILED, run=self.run, error=about))
        return f"failed: {about['message']}"

    def _made_of(self, request: DubRequest) -> str:
        weights = request.weights
        if weights not in self._checksums:
            stated = with_checksums(weights.check())
            self._checksums[weights] = {name: str(facts["sha256"]) for name, facts in stated.items()}
        try:
            return digest(ingredients(request, self._checksums[weights]))
        except OSError as error:
            raise VideoError(
                f"{error.filename or request.video} cannot be read: {error.strerror}.",
                remedy="Name a file that is there.",
            ) from error


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of summary.json: counts, and every job."""
    states = [outcome.state for outcome in outcomes]
    counts = {str(state): states.count(state) for state in State}
    skipped = sum(outcome.skipped for outcome in outcomes)
    return {"jobs": len(states), **counts, "skipped": skipped, "rows": [asdict(outcome) for outcome in outcomes]}

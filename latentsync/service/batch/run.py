"""A batch: its jobs, and who does them. Processes that share a folder do so without speaking to each other; on a Ray
cluster one process gives the jobs out.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from latentsync.errors import DeviceError
from latentsync.inference.job.folder import State
from latentsync.inference.job.networks import KeptNetworks
from latentsync.runtime.cluster import first_line
from latentsync.service.batch.jobs import BatchJob, Outcome, in_order
from latentsync.service.batch.results import Results
from latentsync.service.batch.worker import JobWorker
from latentsync.service.runner import ATTEMPTS, MakeNetworks, Settled

if TYPE_CHECKING:
    from latentsync.service.batch.worker import DeviceActors

POLL_SECONDS = 0.5  # between two looks at the jobs of other processes


class Batch:
    """The ``jobs`` of one run, whose results go to ``results``; processes of one run have the same name ``run``.

    ``say`` gets a line for each job that is settled.
    """

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        results: Results,
        *,
        run: str = "",
        attempts: int = ATTEMPTS,
        say: Callable[[str], None] = print,
        make_networks: MakeNetworks = KeptNetworks,
    ) -> None:
        self.jobs, self.results = list(jobs), results
        self.run = run or secrets.token_hex(8)
        self.attempts, self._say = attempts, say
        self.make_worker = partial(JobWorker, results, self.run, attempts=attempts, make_networks=make_networks)
        self._settled = 0
        self._skipped: set[str] = set()

    def work(self) -> None:
        """Do every job that is neither done nor worked on by another process, and wait for those; one that fails ends
        no other. Raises ``OutputError`` if the folder cannot be written or knows no locks."""
        self.results.require_usable()
        worker, left = self.make_worker(), in_order(self.jobs)
        while left:
            held = [job for job in left if not self._note(job, worker.settle(job))]
            if len(held) == len(left):
                time.sleep(POLL_SECONDS)
            left = held

    def work_on(self, actors: DeviceActors) -> None:
        """As ``work``, by the ``actors`` of a cluster: each gets a job when it has done the last one."""
        self.results.require_usable()
        try:
            self._give_out(actors)
        except KeyboardInterrupt:
            stopped = actors.under_way
            actors.close()
            worker = self.make_worker()
            for job in stopped:
                worker.lay_down(job)
            raise

    def _give_out(self, actors: DeviceActors) -> None:
        left, held = deque(in_order(self.jobs)), deque[BatchJob]()
        while left or held or actors.busy:
            if not left and not actors.busy:
                time.sleep(POLL_SECONDS)  # other processes work on all that is left
                left, held = held, left
            while left and actors.has_room():
                actors.submit(left.popleft())
            finished = actors.wait()
            if finished is None:
                continue
            job: BatchJob = finished.task
            settled = finished.result
            if finished.death is not None:
                error = DeviceError(
                    f"Its worker died {self.attempts + 1} times: {first_line(finished.death)}",
                    remedy="See Ray's logs, and run it alone with `latentsync dub`.",
                )
                settled = self.make_worker().give_up(job, error)
            if not self._note(job, settled):
                held.append(job)

    def outcomes(self) -> list[Outcome]:
        """What became of each job, by any process."""
        rows = []
        states = self.results.states(self.jobs)
        for job in self.jobs:
            found = states[job.name]
            error = found.error or {}
            rows.append(
                Outcome(
                    name=job.name,
                    state=str(found.state),
                    output=job.output,
                    seconds=round(found.seconds, 3),
                    attempts=found.attempts,
                    skipped=job.name in self._skipped,
                    late=found.state is State.DONE and job.deadline is not None and found.ended > job.deadline,
                    error=error.get("message", ""),
                    remedy=error.get("remedy", ""),
                    exit_code=error.get("exit_code", 0),
                )
            )
        return rows

    def _note(self, job: BatchJob, settled: Settled | None) -> bool:
        """Whether nothing is left to be done for the job."""
        if settled is None:
            return False
        self._settled += 1
        if settled.skipped:
            self._skipped.add(job.name)
        if settled.said:
            self._say(f"{self._settled}/{len(self.jobs)} {job.name}: {settled.said}")
        return True

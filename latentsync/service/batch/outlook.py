"""What a batch will cost, told before it starts: rough, and from a sample where there are many jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latentsync.errors import LatentSyncError
from latentsync.inference.job.cost import Estimate, duration, rough_cost
from latentsync.inference.job.folder import JobState, State
from latentsync.inference.job.request import DubRequest
from latentsync.service.batch.jobs import BatchJob, in_order
from latentsync.service.batch.results import Results, require_store

SAMPLE = 50  # jobs that are looked into, evenly spread over all that are to be done


@dataclass(frozen=True, slots=True)
class Outlook:
    """``jobs`` in all, of which ``there`` seem to be done. ``seconds`` of work on one device and ``disk_bytes``: of
    what is to be done, None and 0 if nothing is known. ``faults``: what is wrong with jobs, of ``looked_into`` ones.
    ``late``: names of jobs that will miss their deadlines."""

    jobs: int
    there: int
    looked_into: int
    seconds: float | None
    disk_bytes: int
    faults: dict[str, LatentSyncError]
    late: tuple[str, ...]

    def describe(self, devices: int) -> str:
        """A line for the terminal, and one more for deadlines."""
        left = self.jobs - self.there
        words = f"{self.jobs} jobs, {self.there} are there already" if self.there else f"{self.jobs} jobs"
        if not left:
            return f"{words}."
        if self.seconds is None:
            lines = [f"{words}; what {left} will cost cannot be told."]
        else:
            on = "1 device" if devices == 1 else f"{devices} devices"
            cost = f"about {duration(self.seconds / devices)} on {on}, results about {self.disk_bytes / 1e6:.0f} MB"
            sampled = "" if self.looked_into == left else f" (estimated from {self.looked_into} of them)"
            lines = [f"{words}; {left} to do: {cost}{sampled}."]
        if self.faults:
            first, fault = next(iter(self.faults.items()))
            lines.append(
                f"{len(self.faults)} of {self.looked_into} cannot be dubbed, such as {first}: {fault.message}"
            )
        if self.late:
            lines.append(f"{len(self.late)} may miss their deadlines, the first one {self.late[0]}.")
        return "\n".join(lines)


def look_ahead(
    jobs: Sequence[BatchJob],
    results: Results,
    devices: int,
    sample: int | None = SAMPLE,
    cost_of: Callable[[DubRequest], Estimate] = rough_cost,
) -> Outlook:
    """Look into ``sample`` of the jobs that are to be done (None: all), as far as their files are on this machine; no
    video is decoded. Jobs of which nothing is known are taken to cost what the others do on average."""
    states = results.states(jobs)
    left = [job for job in in_order(jobs) if not _is_there(job, states[job.name], results)]
    step = 1 if sample is None else max(1, -(-len(left) // sample))
    costs: dict[str, Estimate] = {}
    faults: dict[str, LatentSyncError] = {}
    looked_into = 0
    for job in left[::step]:
        try:
            cost = _cost(job, cost_of)
        except LatentSyncError as error:
            faults[job.name] = error
        else:
            if cost is None:
                continue
            costs[job.name] = cost
        looked_into += 1
    if not costs:
        return Outlook(len(jobs), len(jobs) - len(left), looked_into, None, 0, faults, ())
    failing = len(faults) / looked_into
    start = max(cost.start_seconds for cost in costs.values())
    work = {name: cost.seconds - cost.start_seconds for name, cost in costs.items()}
    average = sum(work.values()) / len(work) * (1 - failing)
    n_bytes = sum(cost.disk_bytes for cost in costs.values()) / len(costs) * (1 - failing)
    each = [0.0 if job.name in faults else work.get(job.name, average) for job in left]
    return Outlook(
        jobs=len(jobs),
        there=len(jobs) - len(left),
        looked_into=looked_into,
        seconds=start * devices + sum(each),
        disk_bytes=int(n_bytes * len(left)),
        faults=faults,
        late=_late(left, each, [time.time() + start] * devices),
    )


def _cost(job: BatchJob, cost_of: Callable[[DubRequest], Estimate]) -> Estimate | None:
    """None where a file lies at an address. Raises what is wrong with the job."""
    if job.request is None:
        assert job.fault is not None
        raise job.fault
    for url in job.urls.values():
        require_store(url)
    return None if job.urls else cost_of(job.request)


def _is_there(job: BatchJob, found: JobState, results: Results) -> bool:
    """Whether the job's result lies where it was put; what it was made of is not looked at, which takes long."""
    return job.request is not None and found.state is State.DONE and found.result == results.stamp(job)


def _late(jobs: Sequence[BatchJob], seconds: Sequence[float], free: list[float]) -> tuple[str, ...]:
    """Names of the jobs, which are begun in this order, that will not be done at their deadlines; ``free``: when each
    device can begin."""
    late = []
    for job, needed in zip(jobs, seconds, strict=True):
        first = free.index(min(free))
        free[first] += needed
        if job.deadline is not None and free[first] > job.deadline:
            late.append(job.name)
    return tuple(late)

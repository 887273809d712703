"""One job of a batch after the other, with networks that stay loaded: what a process does, whoever gives it its jobs;
and such workers on a Ray cluster, an actor for each device.

Who works on a job holds its folder. A process that is killed loses it, and whoever comes by does the job again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentsync.errors import LatentSyncError, StoppedError
from latentsync.inference.job.folder import JobFolder, State
from latentsync.inference.job.networks import KeptNetworks
from latentsync.runtime.cluster import LOCAL, Finished, RayActors, connect, shares_of
from latentsync.service.batch.jobs import BatchJob
from latentsync.service.batch.results import Results, StoredFiles
from latentsync.service.runner import ATTEMPTS, JobRunner, MakeNetworks, Settled

_POOL = "devices"


class JobWorker:
    """Does jobs whose folders lie in ``results``. Processes of one run have the same name ``run``.

    ``device``: what jobs run on instead of what they say.
    """

    def __init__(
        self,
        results: Results,
        run: str,
        *,
        attempts: int = ATTEMPTS,
        device: str = "",
        make_networks: MakeNetworks = KeptNetworks,
    ) -> None:
        self._results, self._device = results, device
        self._runner = JobRunner(run, attempts, make_networks)

    def settle(self, job: BatchJob) -> Settled | None:
        """Do a job unless it is done; None if another process works on it. One that fails is settled."""
        place = self._results.folder(job)
        with place.hold() as held:
            if not held:
                return None
            try:
                return self._do(job, place)
            except LatentSyncError as error:
                if isinstance(error, StoppedError):
                    raise
                return self._runner.fail(place, place.read(), error)

    def give_up(self, job: BatchJob, error: Exception) -> Settled:
        """Write down that a job cannot be done, for a reason outside of it."""
        place = self._results.folder(job)
        return self._runner.fail(place, place.read(), error)

    def lay_down(self, job: BatchJob) -> None:
        """Write down that a job was stopped on purpose, which counts as no attempt."""
        place = self._results.folder(job)
        found = place.read()
        if found.state is State.RUNNING:
            place.write(replace(found, state=State.WAITING))

    def _do(self, job: BatchJob, place: JobFolder) -> Settled:
        """Raises what is wrong with the job itself."""
        if job.request is None:
            assert job.fault is not None
            raise job.fault
        request = replace(job.request, device=self._device) if self._device else job.request
        files = StoredFiles(job, request) if job.urls or job.output_url else None
        return self._runner.do(request, place, files=files, deadline=job.deadline)


class DeviceActors:
    """Actors on the cluster at ``address`` ('local': on this machine alone), one for each GPU; where there is none, or
    ``device`` is 'cpu', one for each machine's processors.

    ``make_worker(device=...)`` is called in their processes. ``attempts``: times that a job may take its process down.
    Raises ``ConfigError`` and ``DeviceError``.
    """

    def __init__(self, address: str, make_worker: Callable[..., JobWorker], device: str, attempts: int) -> None:
        connect(None if address == LOCAL else address, os.cpu_count() or 1, otherwise="leave --ray out")
        import ray

        try:
            self.shares = shares = shares_of(ray.nodes(), device)
            actor_class: Any = ray.remote(_Actor)
            options = {"num_cpus": shares.cpus, "num_gpus": shares.gpus, "scheduling_strategy": "SPREAD"}
            placed = actor_class.options(**options)
            # the journal of a job counts the attempts; the last one is for whoever finds that it was tried too often
            start: Callable[[str], Any] = lambda pool: placed.remote(make_worker, shares.device, Path.cwd())  # noqa: E731
            self._actors = RayActors(start, {_POOL: shares.count}, attempts + 1)
        except BaseException:
            ray.shutdown()
            raise

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._actors.busy

    @property
    def under_way(self) -> list[BatchJob]:
        """The jobs that actors have."""
        return self._actors.under_way

    def has_room(self) -> bool:
        """Whether an actor has nothing to do; waits for one to start where nothing is under way."""
        return self._actors.has_room(_POOL)

    def submit(self, job: BatchJob) -> None:
        """Give a job to an actor that has nothing to do."""
        self._actors.submit(_POOL, job)

    def wait(self) -> Finished | None:
        """The next job that is settled, as ``RayActors.wait``. Raises what ends the whole batch."""
        finished = self._actors.wait()
        if finished is not None and isinstance(finished.result, LatentSyncError):
            raise finished.result
        return finished

    def close(self) -> None:
        """End the actors, with whatever they are doing."""
        self._actors.close()


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, make_worker: Callable[..., JobWorker], device: str, folder: Path) -> None:
        if folder.is_dir():  # paths of the command line may be relative to it
            os.chdir(folder)
        self._worker = make_worker(device=device)

    def work(self, job: BatchJob) -> Settled | LatentSyncError | None:
        try:
            return self._worker.settle(job)
        except LatentSyncError as error:
            return error

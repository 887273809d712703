"""One job of a batch after the other, with networks that stay loaded: what a process does, whoever gives it its jobs.

Who works on a job holds its folder. A process that is killed loses it, and whoever comes by does the job again.
"""

from __future__ import annotations

from dataclasses import replace

from latentsync.errors import LatentSyncError, StoppedError
from latentsync.inference.job.folder import JobFolder, State
from latentsync.inference.job.networks import KeptNetworks
from latentsync.service.batch.jobs import BatchJob
from latentsync.service.batch.results import Results, StoredFiles
from latentsync.service.runner import ATTEMPTS, JobRunner, MakeNetworks, Settled


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

"""One job in its folder: done once, tried again where that helps, taken up where a killed process left it.

A batch and the service both do their jobs here. Whoever calls holds the lock of the folder (``JobFolder.hold``).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from latentsync.errors import LatentSyncError, OutOfMemoryError, StoppedError, StoreError, VideoError
from latentsync.inference.job.dub import dub
from latentsync.inference.job.folder import JobFolder, JobState, Stamp, State, described, digest, ingredients, stamp
from latentsync.inference.job.networks import KeptNetworks, Networks
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.request import DubRequest
from latentsync.inference.weights import WeightPaths, identities
from latentsync.service.job import deadline_missed

ATTEMPTS = 3  # of a job that fails of what may pass, or during which the process is killed
PASSING = (OutOfMemoryError, MemoryError, StoreError)  # what may not happen again
PAUSE_SECONDS = 2.0  # before another attempt where a store did not answer, twice as long each time

MakeNetworks = Callable[[], Networks]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a job. ``said``: a few words, empty if another process of this run has settled it.

    ``skipped``: it was there already, of the same files, options and weights.
    """

    state: JobState
    said: str
    skipped: bool = False


class JobFiles:
    """The files of a job, which lie on this machine where its ``request`` says; others lie elsewhere."""

    def __init__(self, request: DubRequest) -> None:
        self.request = request

    def contents(self) -> Mapping[str, str]:
        """Fields of the request whose content is known by a word (``job.folder.ingredients``)."""
        return {}

    def stamp(self) -> Stamp | None:
        """That of the result; None if there is none."""
        return stamp(self.request.output)

    def at_hand(self, request: DubRequest) -> AbstractContextManager[DubRequest]:
        """The ``request``, this one with other settings, with files of this machine while the block lasts. When it
        ends without an error, the result is where it belongs."""
        request.output.parent.mkdir(parents=True, exist_ok=True)
        return nullcontext(request)


class JobRunner:
    """Does jobs one at a time with networks that stay in memory; ``run`` names all processes that share the work.

    ``make_networks`` keeps networks; tests put stubs there.
    """

    def __init__(
        self, run: str, attempts: int = ATTEMPTS, make_networks: MakeNetworks = KeptNetworks
    ) -> None:
        self.run, self._attempts, self._make_networks = run, attempts, make_networks
        self.networks = make_networks()
        self._checksums: dict[WeightPaths, Mapping[str, str]] = {}

    def do(
        self,
        request: DubRequest,
        place: JobFolder,
        control: RunControl | None = None,
        *,
        files: JobFiles | None = None,
        deadline: float | None = None,
    ) -> Settled:
        """Do the job unless it is done. ``files``: where they are, if not where the request says. ``deadline``: time
        after which it is not begun (seconds of ``time.time``).

        Raises ``StoppedError`` if ``control`` was stopped, ``DeadlineError``, and what is wrong with the job before it
        begins.
        """
        files = files or JobFiles(request)
        found = place.read()
        made_of, now = self._made_of(request, files), files.stamp()
        same = found.made_of == made_of
        if same and found.state is State.DONE and now is not None and now == found.result:
            return Settled(found, "") if found.run == self.run else Settled(found, "is there already", skipped=True)
        killed = found.state is State.RUNNING
        if same and killed and now is not None and now != found.before:  # between the result and the journal
            done = replace(found, state=State.DONE, run=self.run, result=now, ended=time.time(), error=None)
            place.write(done)
            return Settled(done, "was finished when the process was killed")
        if same and found.state is State.FAILED and found.run == self.run:
            return Settled(found, "")
        _require_time(deadline)
        attempts = found.attempts if same and killed else 0
        ours = now is not None and (now == found.result or (killed and now != found.before))  # may be replaced
        request = replace(request, segments=place.segments, overwrite=ours or request.overwrite)
        begun = JobState(State.RUNNING, made_of, attempts, self.run, before=now, result=found.result)
        if attempts >= self._attempts:
            error = OutOfMemoryError(
                f"The process was killed {attempts} times while it worked on this job.",
                remedy="See whether the machine has too little memory for it, and run it alone with `latentsync dub`.",
            )
            return self.fail(place, begun, error)
        return self._attempt(place, begun, request, control, files)

    def fail(self, place: JobFolder, begun: JobState, error: BaseException) -> Settled:
        """Write down that the job has failed."""
        about = described(error)
        failed = replace(begun, state=State.FAILED, run=self.run, ended=time.time(), error=about)
        place.write(failed)
        return Settled(failed, f"failed: {about['message']}")

    def _attempt(
        self, place: JobFolder, begun: JobState, request: DubRequest, control: RunControl | None, files: JobFiles
    ) -> Settled:
        start = time.monotonic()
        while True:
            begun = replace(begun, attempts=begun.attempts + 1)
            place.write(begun)
            try:
                with files.at_hand(request) as here:
                    report = dub(here, control=control, networks=self.networks)
            except (StoppedError, KeyboardInterrupt):
                place.write(replace(begun, state=State.WAITING))
                raise
            except PASSING as error:
                if begun.attempts >= self._attempts:
                    return self.fail(place, begun, error)
                self._mend(error, begun.attempts)
            except LatentSyncError as error:
                return self.fail(place, begun, error)
            except Exception as error:  # noqa: BLE001  a fault of ours ends one job, not a night's work
                self.networks = self._make_networks()  # nobody knows what state they were left in
                place.keep(place.traceback_file, traceback.format_exc())
                return self.fail(place, begun, error)
            else:
                place.keep(place.report_file, report.to_json())
                seconds = time.monotonic() - start
                done = replace(begun, state=State.DONE, result=files.stamp(), seconds=seconds, ended=time.time())
                place.write(done)
                return Settled(done, f"{seconds:.1f} s")

    def _mend(self, error: BaseException, attempts: int) -> None:
        """See to it that the next attempt has a chance."""
        if isinstance(error, StoreError):
            time.sleep(PAUSE_SECONDS * 2 ** (attempts - 1))
        else:
            self.networks = self._make_networks()  # memory is free again

    def _made_of(self, request: DubRequest, files: JobFiles) -> str:
        weights = request.weights
        if weights not in self._checksums:
            self._checksums[weights] = identities(weights.check())
        try:
            return digest(ingredients(request, self._checksums[weights], files.contents()))
        except OSError as error:
            raise VideoError(
                f"{error.filename or request.video} cannot be read: {error.strerror}.",
                remedy="Name a file that is there.",
            ) from error


def _require_time(deadline: float | None) -> None:
    """Raise ``DeadlineError`` if the deadline has passed."""
    if deadline is not None and time.time() >= deadline:
        raise deadline_missed(deadline)

"""One device at work: it takes the job whose turn it is, and goes on with jobs of processes that were killed.

The networks stay in memory from job to job. A worker is a process of its own (``supervisor``), so that a fault of a
driver or a lack of memory ends one job and not the service; it and the server share the store and the folders only.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentsync.errors import AudioError, LatentSyncError, NoFaceError, StoppedError, VideoError
from latentsync.inference.job.folder import JobFolder, State, described
from latentsync.inference.job.networks import KeptNetworks, NetworkChoice
from latentsync.inference.job.progress import RunControl
from latentsync.inference.options import apply_preset
from latentsync.inference.weights import model_settings
from latentsync.runtime.device import choose_devices
from latentsync.service.dubs import Models, make_dub
from latentsync.service.generation import GenerateRequest
from latentsync.service.job import LOADING, UNABLE, Job, JobStatus, RequestRefusedError, ServiceSettings
from latentsync.service.runner import JobRunner, MakeNetworks
from latentsync.service.store import JobStore

POLL_SECONDS = 1.0  # between two looks for a job, where nobody tells of one
REPORT_SECONDS = 0.3  # between two notes of how far a job is, and looks whether it shall go on
REFUSED = (VideoError, AudioError, NoFaceError, RequestRefusedError)  # faults of an input, not of the work on it
logger = logging.getLogger(__name__)


class Worker:
    """``name`` tells it from others of its store; ``device`` as in ``DubRequest``.

    ``make_networks`` keeps networks in memory; tests put stubs there. ``in_turn`` does a piece of work, when others of
    this process let it.
    """

    def __init__(
        self,
        store: JobStore,
        settings: ServiceSettings,
        models: Models,
        name: str,
        device: str = "auto",
        make_networks: MakeNetworks = KeptNetworks,
        in_turn: Callable[[Callable[[], bool]], bool] = lambda work: work(),
    ) -> None:
        self._store, self._settings, self._models = store, settings, models
        self._in_turn = in_turn
        self.name, self._device = name, device
        self._runner = JobRunner("service", make_networks=make_networks)
        self._control: RunControl | None = None
        self._ending = threading.Event()
        self._woken = threading.Event()

    def warm_up(self) -> None:
        """Load the networks of the default model, and a face detector, as a job will ask for them. Raises as
        ``loading.load_pipeline`` and ``face.backends.load_detector``."""
        self._say(LOADING)
        try:
            self._load()
        except LatentSyncError:
            self._say(UNABLE)
            raise

    def _load(self) -> None:
        from latentsync.inference.precision import common_precision  # here: it imports torch, which takes seconds

        weights, _ = apply_preset(self._settings.preset, self._models.weights[self._models.default])
        devices = choose_devices(self._device)
        settings = model_settings(weights.unet, None)
        dtype = common_precision("auto", devices, weights.unet, settings.resolution)
        choice = NetworkChoice(weights, settings, devices, dtype)
        self._runner.networks.detector("auto", weights.auxiliary, str(devices[0]))
        self._runner.networks.pipeline(choice)

    def wake(self) -> None:
        """There may be a job."""
        self._woken.set()

    def end(self) -> None:
        """Stop at the next step; the job under work waits again, with what is finished of it."""
        self._ending.set()
        self._woken.set()
        if (control := self._control) is not None:
            control.stop()

    def work(self) -> None:
        """Do jobs until ``end``."""
        while not self._ending.is_set():
            self._woken.clear()
            if not self.look():
                self._woken.wait(POLL_SECONDS)

    def look(self) -> bool:
        """Do the next job if there is one; whether there was."""
        self._say("waiting")
        return self._store.has_work() and self._in_turn(self.work_on_one)

    def work_on_one(self) -> bool:
        """Do the next job, one that a killed process left before others; False if there is none."""
        for job in self._store.under_work():
            if self._hold_and_do(job):
                return True
        job_or_none = self._store.claim(self.name)
        return job_or_none is not None and self._hold_and_do(job_or_none)

    def _hold_and_do(self, job: Job) -> bool:
        """False if another process works on it."""
        folder = self._settings.job_folder(job.id)
        if not folder.is_dir():
            self._store.drop(job.id)
            return False
        place = JobFolder(folder)
        with place.hold() as held:
            found = self._store.get(job.id) if held else None
            if found is None or found.status is not JobStatus.PROCESSING:
                return False
            self._say("working")
            gone = found.stopped or not self._do(found, place)
        if gone and self._store.get(job.id) is not None:
            self._store.drop(job.id)
        if gone:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _do(self, job: Job, place: JobFolder) -> bool:
        """Do the job. False if somebody has deleted it."""
        about, start = {"job": job.id}, time.monotonic()
        logger.info("Begins, on %s.", self._device, extra=about)
        try:
            request = GenerateRequest.model_validate(job.request)
            dub = make_dub(request, self._models, self._settings, place.path, self._device)
            settled = self._runner.do(dub, place, self._begin_control(job), deadline=job.deadline)
        except StoppedError:
            if self._ending.is_set() and self._store.report(job.id, "waiting", 0, 0):
                self._store.put_back(job.id)
                logger.info("Waits again: this worker ends.", extra=about)
                return True
            return False
        except Exception as error:  # noqa: BLE001  a fault of ours ends one job, not the worker
            return self._refuse(job, place, error)
        finally:
            self._control = None
        state = settled.state
        if state.state is not State.DONE:
            error_seen = _without_paths(dict(state.error or {}), place.path)
            logger.info("Failed: %s.", error_seen.get("class"), extra=about)
            return self._store.finish(job.id, _status_of(error_seen), error=error_seen)
        report = _read_report(place)
        stages = report.get("seconds_by_stage", {}) | {"working": state.seconds}
        stages["service"] = max(0.0, time.monotonic() - start - report.get("wall_seconds", state.seconds))
        logger.info("Is done.", extra=about | {"seconds": round(state.seconds, 2)})
        return self._store.finish(
            job.id,
            JobStatus.COMPLETED,
            seconds=report.get("output_seconds"),
            notes=tuple(_without_paths({"notes": note}, place.path)["notes"] for note in report.get("notes", ())),
            stages=stages,
        )

    def _refuse(self, job: Job, place: JobFolder, error: Exception) -> bool:
        """What was wrong before the dub began."""
        about = _without_paths(described(error), place.path)
        if isinstance(error, LatentSyncError):
            logger.info("Is refused: %s.", about["class"], extra={"job": job.id})
        else:
            logger.error("A fault of this program.", extra={"job": job.id}, exc_info=error)
        return self._store.finish(job.id, _status_of(about), error=about)

    def _begin_control(self, job: Job) -> RunControl:
        """What takes notes of the progress of a job, and stops it when it is deleted or this worker ends."""
        said, said_at = "", float("-inf")

        def report(stage: str, done: int, total: int) -> None:
            nonlocal said, said_at
            now = time.monotonic()
            if stage == said and now - said_at < REPORT_SECONDS:
                return
            said, said_at = stage, now
            if not self._store.report(job.id, stage, done, total):
                control.stop()
                control.check()

        control = RunControl(report)
        self._control = control
        if self._ending.is_set():
            control.stop()
        return control

    def _say(self, state: str) -> None:
        self._store.seen(self.name, self._device, os.getpid(), state)


def _status_of(error: dict[str, Any]) -> JobStatus:
    """Of a job that ended by this error."""
    refused = {each.__name__ for kind in REFUSED for each in (kind, *kind.__subclasses__())}
    return JobStatus.REJECTED if error.get("class") in refused else JobStatus.FAILED


def _without_paths(error: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same without the folder of the job, which is nothing to clients."""
    return {
        name: value.replace(f"{folder}{os.sep}", "") if isinstance(value, str) else value
        for name, value in error.items()
    }


def _read_report(place: JobFolder) -> dict[str, Any]:
    """The report of a dub; empty where the process was killed between the result and the report."""
    try:
        report = json.loads(place.report_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}

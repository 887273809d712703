"""One worker: runs any step on any clip, with networks that stay loaded. The same in this process and in Ray's."""

from __future__ import annotations

import os
import platform
import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from latentsync.atomic import is_disk_full
from latentsync.errors import AudioError, DataError, LatentSyncError, NoFaceError, VideoError
from latentsync.preprocess.clip_record import ClipRecord, MadeClip, ManifestRow, StepInput, StepResult
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import FileRecord, commit, output_error, read_file_record, write_file_record
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps import step1_readable
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.preprocess.steps.sequence import Step, readable_digest, steps_of


@dataclass(frozen=True, slots=True)
class FileTask:
    """Step 1 on the input file ``name``."""

    name: str


@dataclass(frozen=True, slots=True)
class ClipTask:
    """Step number ``step`` (of ``steps_of``) on a clip, whose file is ``given``."""

    step: int
    clip: ClipRecord
    given: Path

    @property
    def name(self) -> str:
        """Of the clip."""
        return self.clip.name


WorkerTask = FileTask | ClipTask


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task: a record or row; or an ``error`` that ends the run; or the traceback (``trace``) of a bug on
    this clip; or a ``crash`` of the whole process on it."""

    record: FileRecord | ManifestRow | None = None
    error: LatentSyncError | None = None
    trace: str = ""
    crash: str = ""


class Worker:
    """``networks`` are loaded when first needed."""

    def __init__(self, layout: Layout, settings: PreprocessSettings, networks: StepNetworks) -> None:
        self._layout, self._settings, self._networks = layout, settings, networks
        self._steps = steps_of(settings)

    def work(self, task: WorkerTask) -> TaskResult:
        """Do it and keep the result; never raises."""
        try:
            return TaskResult(self._examine(task.name) if isinstance(task, FileTask) else self._run(task))
        except LatentSyncError as error:
            return TaskResult(error=error)
        except OSError as error:
            if is_disk_full(error):
                return TaskResult(error=output_error(self._layout.output_dir, error))
            return TaskResult(trace=traceback.format_exc())
        except Exception:  # noqa: BLE001  reported at the end of the run, which goes on with the other clips
            return TaskResult(trace=traceback.format_exc())

    def refuse(self, task: WorkerTask, reason: str) -> FileRecord | ManifestRow:
        """Keep that a task cannot be done at all."""
        if isinstance(task, FileTask):
            return self._keep_file(task.name, StepResult(reason=reason), (self._layout.input_dir / task.name).stat())
        return self._keep_row(self._steps[task.step], task, StepResult(reason=reason), 0.0, self._new_scratch())

    def _examine(self, name: str) -> FileRecord:
        path = self._layout.input_dir / name
        try:
            stat = path.stat()
        except OSError as error:
            return self._keep_file(name, StepResult(reason=f"unreadable: {error.strerror}"))
        if not path.is_file():
            return self._keep_file(name, StepResult(reason=f"unreadable: {_what_it_is(path)}"))
        known = read_file_record(self._layout, name)
        if known is not None and (known.n_bytes, known.modified) != (stat.st_size, stat.st_mtime_ns):
            known = None
        if known is not None and known.settings == readable_digest(self._settings):
            return known
        too_large = step1_readable.too_large(stat.st_size, self._settings)
        if too_large:  # before it is hashed
            return self._keep_file(name, StepResult(reason=too_large), stat)
        started, content, duration = time.perf_counter(), "", 0.0
        try:
            content = known.content if known is not None and known.content else step1_readable.content_of(path)
            duration, result = step1_readable.run(path, self._settings)
        except OSError as error:
            result = StepResult(reason=f"unreadable: {error.strerror}")
        return self._keep_file(name, result, stat, content, duration, time.perf_counter() - started)

    def _run(self, task: ClipTask) -> ManifestRow:
        step, scratch = self._steps[task.step], self._new_scratch()
        started = time.perf_counter()
        job = StepInput(task.clip, task.given, self._layout.scratch / scratch, self._layout.faces(task.clip))
        try:
            result = step.run(job, self._settings, self._networks)
        except (VideoError, AudioError, NoFaceError, DataError) as error:
            result = StepResult(reason=_reason(error))
        except BaseException:
            shutil.rmtree(job.scratch, ignore_errors=True)
            raise
        return self._keep_row(step, task, result, time.perf_counter() - started, scratch)

    def _new_scratch(self) -> str:
        name = uuid4().hex
        (self._layout.scratch / name).mkdir()
        return name

    def _keep_row(self, step: Step, task: ClipTask, result: StepResult, seconds: float, scratch: str) -> ManifestRow:
        made: tuple[MadeClip, ...] = () if result.reason else result.made
        clips = tuple(each.clip for each in made)
        row = ManifestRow(
            step=step.name,
            settings=step.settings,
            clip=task.clip,
            made=clips,
            reason=result.reason,
            figures=result.figures,
            seconds=round(seconds, 3),
            host=platform.node(),
            scratch=scratch,
        )
        commit(self._layout, row, made, task.given)
        return row

    def _keep_file(
        self,
        name: str,
        result: StepResult,
        stat: os.stat_result | None = None,
        content: str = "",
        duration: float = 0.0,
        seconds: float = 0.0,
    ) -> FileRecord:
        record = FileRecord(
            name=name,
            n_bytes=0 if stat is None else stat.st_size,
            modified=0 if stat is None else stat.st_mtime_ns,
            settings=readable_digest(self._settings),
            content=content,
            duration=duration,
            reason=result.reason,
            figures=result.figures,
            seconds=round(seconds, 3),
            host=platform.node(),
        )
        write_file_record(self._layout, record)
        return record


def _what_it_is(path: Path) -> str:
    """Of an entry of the input that is no file."""
    if not path.is_dir():
        return "no regular file"
    return "a link to a folder, which is not followed" if path.is_symlink() else "a folder that may not be listed"


def _reason(error: LatentSyncError) -> str:
    """The reason of a row: "kind: details"."""
    kinds = {VideoError: "damaged pictures", AudioError: "damaged sound", NoFaceError: "lost face"}
    kind = next((name for cause, name in kinds.items() if isinstance(error, cause)), None)
    if kind is None:
        return error.message if ": " in error.message else f"not judged: {error.message}"
    return f"{kind}: {error.message}"

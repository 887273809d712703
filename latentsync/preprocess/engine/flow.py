"""What is to be done next: every clip goes on to its next step as soon as it has passed one.

Clips that are furthest on come first, so results appear early and little waits in between. Input files are opened in
their order and only as fast as clips are finished; what is known of a recording is forgotten once all its clips are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from latentsync.preprocess.clip_record import ClipRecord, ManifestRow
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import FileRecord, Journal, RowKey
from latentsync.preprocess.engine.recordings import is_open_to_use, open_recording
from latentsync.preprocess.engine.worker import ClipTask, FileTask, WorkerTask
from latentsync.preprocess.steps.sequence import Step


@dataclass
class _Recording:
    journal: Journal
    rows: dict[RowKey, ManifestRow]
    record: FileRecord
    open_tasks: int = 0


@dataclass
class _Examination:
    task: FileTask
    record: FileRecord | None = None


@dataclass
class Flow:
    """``steps`` are those to run, ``all_steps`` those that the settings describe. ``pool_of`` says which pool of
    workers a step belongs to (None: step 1). ``most_open`` recordings are worked on at a time.

    ``closed`` is told of every input file that is finished with.
    """

    layout: Layout
    steps: Sequence[Step]
    all_steps: Sequence[Step]
    names: Iterator[str]
    pool_of: Callable[[Step | None], str]
    most_open: int
    closed: Callable[[FileRecord], None]
    _ready: dict[str, list[tuple[int, int, ClipTask]]] = field(default_factory=dict)
    _count: int = 0
    _examined: deque[_Examination] = field(default_factory=deque)
    _recordings: dict[str, _Recording] = field(default_factory=dict)

    def next(self, pool: str) -> WorkerTask | None:
        """A task for a worker of ``pool``; None if there is none at present."""
        if self._ready.get(pool):
            return heapq.heappop(self._ready[pool])[-1]
        if pool != self.pool_of(None) or len(self._examined) + len(self._recordings) >= self.most_open:
            return None
        name = next(self.names, None)
        if name is None:
            return None
        self._examined.append(_Examination(FileTask(name)))
        return self._examined[-1].task

    def file_done(self, task: FileTask, record: FileRecord) -> None:
        """A file of ``next`` has been examined."""
        next(each for each in self._examined if each.task == task).record = record
        self._open_examined()

    def clip_done(self, task: ClipTask, row: ManifestRow) -> None:
        """A step of ``next`` on a clip is finished."""
        recording = self._recordings[task.clip.source]
        for clip in row.made:
            self._advance(recording, clip, task.step + 1)
        self._close_task(recording)

    def give_up(self, task: WorkerTask) -> None:
        """A task of ``next`` cannot be finished in this run."""
        if isinstance(task, FileTask):
            self._examined = deque(each for each in self._examined if each.task != task)
            self._open_examined()
        else:
            self._close_task(self._recordings[task.clip.source])

    def _open_examined(self) -> None:
        """In the order of the input, so that of two equal files always the same one counts."""
        while self._examined and (record := self._examined[0].record) is not None:
            self._examined.popleft()
            journal = None
            if is_open_to_use(record):
                record, journal = open_recording(self.layout, record, self.all_steps)
            if journal is None:
                self.closed(record)
                continue
            recording = _Recording(journal, dict(journal.rows), record)
            self._recordings[journal.source] = recording
            recording.open_tasks += 1  # keeps it open while its rows are gone through
            self._advance(recording, ClipRecord(journal.source, journal.name), 0)
            self._close_task(recording)

    def _advance(self, recording: _Recording, clip: ClipRecord, index: int) -> None:
        """Bring a clip to the first step that has not been done."""
        if index == len(self.steps):
            return
        row = recording.rows.get(_key(self.steps[index], clip))
        if row is not None and self._still_holds(recording.rows, row, index):
            for made in row.made:
                self._advance(recording, made, index + 1)
            return
        before = self.steps[index - 1].name if index else None
        given = self.layout.file(before, clip) if before else self.layout.input_dir / recording.journal.file
        task = ClipTask(index, clip, given)
        pool = self.pool_of(self.steps[index])
        heapq.heappush(self._ready.setdefault(pool, []), (-index, self._count, task))
        self._count += 1
        recording.open_tasks += 1

    def _still_holds(self, rows: Mapping[RowKey, ManifestRow], row: ManifestRow, index: int) -> bool:
        """Whether nothing of a row need be done again: files that later steps have used may have been removed."""
        for clip in row.made:
            following = rows.get(_key(self.steps[index + 1], clip)) if index + 1 < len(self.steps) else None
            needed = following is None or not self._still_holds(rows, following, index + 1)
            if needed and not self.layout.file(row.step, clip).is_file():
                return False
        return True

    def _close_task(self, recording: _Recording) -> None:
        recording.open_tasks -= 1
        if recording.open_tasks == 0:
            del self._recordings[recording.journal.source]
            self.closed(recording.record)


def _key(step: Step, clip: ClipRecord) -> RowKey:
    return step.name, step.settings, clip.start, clip.frames

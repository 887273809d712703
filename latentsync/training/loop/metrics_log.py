"""What was measured during a run: CSV files, TensorBoard, charts, the progress bar, the report of unusable clips.

A resumed run continues the files without doubles.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from latentsync.atomic import atomic_file, write_text
from latentsync.data.batches import ClipFault
from latentsync.data.manifest import fault_table
from latentsync.training.loop.charts import draw_charts
from latentsync.training.loop.task import LateFigures, Row, Task


class Notes:
    """Sentences about a run that nobody should miss. Any thread may add one; the log of the main process shows them and
    writes them down, those of other processes are not shown."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()

    def add(self, text: str) -> None:
        """Say ``text``."""
        self._waiting.append(text)

    def take(self) -> list[str]:
        """What was added since the last call."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class MetricsLog:
    """The tables ``train`` and ``validation`` of a run; ``rows[table]`` holds them as mappings with the key ``step``.

    ``resumed_at`` is the step that the run goes on from: later rows of an interrupted run are dropped.
    """

    TABLES = ("train", "validation")

    def __init__(self, folder: Path, resumed_at: int) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, list[Row]] = {table: _read(self._path(table), resumed_at) for table in self.TABLES}
        for table, rows in self.rows.items():
            _write(self._path(table), rows)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None)

    def add(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """Append one row, on disk at once.

        All rows of a table have the same figures: those that a row lacks, because the run measured other things before
        or after a restart, are not a number.
        """
        rows, row = self.rows[table], {"step": step, **values}
        if rows and rows[0].keys() == row.keys():
            rows.append(row)
            with self._path(table).open("a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, fieldnames=list(rows[0])).writerow(row)
        else:
            names = dict.fromkeys(name for each in (*rows, row) for name in each)
            rows[:] = [{name: each.get(name, math.nan) for name in names} for each in (*rows, row)]
            _write(self._path(table), rows)
        self._show(table, step, values)

    def amend(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """Give the row of ``step`` figures that it did not have, on disk at once."""
        (row,) = (row for row in self.rows[table] if row["step"] == step)
        row |= values
        _write(self._path(table), self.rows[table])
        self._show(table, step, values)

    def note(self, step: int, text: str) -> None:
        """Append to ``notes.jsonl``: a sentence that belongs to ``step``."""
        with (self._folder / "notes.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "note": text}, ensure_ascii=False) + "\n")
        self._board.add_text("notes", text, step)

    def close(self) -> None:
        """Flush what TensorBoard has not written yet."""
        self._board.close()

    def _show(self, table: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isnan(value):
                self._board.add_scalar(f"{table}/{name}", value, step)

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.csv"


class RunLog:
    """What the main process shows and writes: rows, charts, progress bar. Close it at the end.

    ``step`` is the one that the run starts or goes on from; ``late`` is asked for the figures of validations that come
    later, ``notes`` for what is to be said.
    """

    def __init__(
        self,
        task: Task[Any],
        folder: Path,
        step: int,
        max_steps: int,
        late: LateFigures | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._task = task
        self._folder = folder
        self._late = late
        self._notes = notes or Notes()
        self._step = step
        self._metrics = MetricsLog(folder, step)
        self._bar = tqdm(total=max_steps, initial=step, desc="training", unit="step", dynamic_ncols=True)
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._since = time.perf_counter()
        self._reported: set[str] = set()

    def close(self) -> None:
        """Wait for what is still to come, end the progress bar and flush the files."""
        self._take_late_figures(wait=True)
        self.take_notes()
        self._bar.close()
        self._metrics.close()

    def count(self) -> None:
        """One more step was done or skipped."""
        self._step += 1
        self._bar.update()
        self.take_notes()

    def add(self, figures: Mapping[str, float]) -> None:
        """The figures of a step that was done, to be averaged."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def write_row(self, step: int, skipped_steps: int) -> None:
        """The means since the last row become a row; then the task looks at them."""
        self._take_late_figures()
        if self._steps:
            means = {name: total / self._steps for name, total in self._sums.items()}
            self._bar.set_postfix_str(", ".join(f"{name} {value:.4g}" for name, value in means.items()))
            means["seconds_per_step"] = (time.perf_counter() - self._since) / self._steps
            self._metrics.add("train", step, means | {"skipped_steps": skipped_steps})
            self._task.watch(step, self._metrics.rows)
            self.take_notes()
        self._sums, self._steps, self._since = {}, 0, time.perf_counter()

    def validated(self, step: int, figures: Mapping[str, float], pause: float) -> None:
        """Show, write and draw the figures of a validation that took ``pause`` seconds."""
        self._metrics.add("validation", step, figures)
        self._show_validation(step, figures)
        self._take_late_figures()
        self._since += pause
        self._task.watch(step, self._metrics.rows)
        self.take_notes()

    def _take_late_figures(self, wait: bool = False) -> None:
        for step, figures in [] if self._late is None else self._late.finished(wait):
            self._metrics.amend("validation", step, figures)
            self._show_validation(step, figures)

    def take_notes(self) -> None:
        """Show and write what is to be said, at the step that the run is at."""
        for text in self._notes.take():
            tqdm.write(f"\n*** {text}\n", file=sys.stderr)
            self._metrics.note(self._step, text)

    def _show_validation(self, step: int, figures: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if not math.isnan(value))
        tqdm.write(f"step {step}, validation: {shown}", file=sys.stderr)
        if self._metrics.rows["train"]:
            panels = self._task.panels(self._metrics.rows)
            draw_charts(panels, f"{self._folder.name}, step {step}", self._folder / "charts.png")

    def report_faults(self, faults: Sequence[ClipFault]) -> None:
        """Write replaced_clips.json, and say it when there are new entries."""
        by_path = {fault.path: fault for fault in faults}
        rows = [{"path": f.path, "reason": f.reason, "clip_id": f.clip_id} for f in by_path.values()]
        write_text(self._folder / "replaced_clips.json", json.dumps(rows, indent=1, ensure_ascii=False))
        if by_path.keys() - self._reported:
            tqdm.write(
                f"{len(by_path)} clips cannot be used and are replaced by others:\n{fault_table([*by_path.values()])}",
                file=sys.stderr,
            )
            self._reported |= by_path.keys()


def _read(path: Path, last_step: int) -> list[Row]:
    """The whole rows up to ``last_step``; the line that a killed run left half-written is later than that."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        complete = [row for row in csv.DictReader(stream) if None not in row.values() and None not in row]
    rows = [{key: float(value) for key, value in row.items()} for row in complete if int(row["step"]) <= last_step]
    return [{**row, "step": int(row["step"])} for row in rows]


def _write(path: Path, rows: list[Row]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        if rows:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

"""What the main process shows and writes during a run: rows, charts, progress bar, report of unusable clips."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from latentsync.atomic import write_text
from latentsync.data.manifest import fault_table
from latentsync.training.loop.charts import draw_charts
from latentsync.training.loop.metrics_log import Journal
from latentsync.training.loop.task import LateFigures, Task
from latentsync.types import ClipFault


class RunLog:
    """Close it at the end. ``step`` is the one that the run starts or goes on from; ``late`` is asked for the figures
    of validations that come later."""

    def __init__(self, task: Task, folder: Path, step: int, max_steps: int, late: LateFigures | None = None) -> None:
        self._task = task
        self._folder = folder
        self._late = late
        self._journal = Journal(folder, step)
        self._bar = tqdm(total=max_steps, initial=step, desc="training", unit="step", dynamic_ncols=True)
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._since = time.perf_counter()
        self._reported: set[str] = set()

    def close(self) -> None:
        """Wait for what is still to come, end the progress bar and flush the files."""
        self._take_late_figures(wait=True)
        self._bar.close()
        self._journal.close()

    def count(self) -> None:
        """One more step was done or skipped."""
        self._bar.update()

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
            self._journal.add("train", step, means | {"skipped_steps": skipped_steps})
            self._task.watch(step, self._journal.rows)
        self._sums, self._steps, self._since = {}, 0, time.perf_counter()

    def validated(self, step: int, figures: Mapping[str, float], pause: float) -> None:
        """Show, write and draw the figures of a validation that took ``pause`` seconds."""
        self._journal.add("validation", step, figures)
        self._show_validation(step, figures)
        self._take_late_figures()
        self._since += pause
        self._task.watch(step, self._journal.rows)

    def _take_late_figures(self, wait: bool = False) -> None:
        for step, figures in [] if self._late is None else self._late.finished(wait):
            self._journal.amend("validation", step, figures)
            self._show_validation(step, figures)

    def _show_validation(self, step: int, figures: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if not math.isnan(value))
        tqdm.write(f"step {step}, validation: {shown}", file=sys.stderr)
        if self._journal.rows["train"]:
            panels = self._task.panels(self._journal.rows)
            draw_charts(panels, f"{self._folder.name}, step {step}", self._folder / "charts.png")

    def report_faults(self, faults: Sequence[ClipFault]) -> None:
        """Write clips_report.json, and say it when there are new entries."""
        by_path = {fault.path: fault for fault in faults}
        rows = [{"path": f.path, "reason": f.reason, "clip_id": f.clip_id} for f in by_path.values()]
        write_text(self._folder / "replaced_clips.json", json.dumps(rows, indent=1, ensure_ascii=False))
        if by_path.keys() - self._reported:
            tqdm.write(
                f"{len(by_path)} clips cannot be used and are replaced by others:\n{fault_table([*by_path.values()])}",
                file=sys.stderr,
            )
            self._reported |= by_path.keys()

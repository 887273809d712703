"""Background rendering: the images of a validation are made beside the training where there is room, so that no process
waits for them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from latentsync.errors import LatentSyncError
from latentsync.inference.latent_generator import LatentModels
from latentsync.runtime.memory import is_out_of_memory, release_memory
from latentsync.training.loop.metrics_log import Notes
from latentsync.training.loop.task import LateFigures
from latentsync.training.unet.validation import ValidationRenderer


class BackgroundRendering(LateFigures):
    """Renders in a thread of its own, one validation at a time. On the main process only. ``notes`` gets what fails."""

    def __init__(self, renderer: ValidationRenderer, notes: Notes) -> None:
        self._notes = notes
        self.figures = renderer.figures
        self.marks = renderer.marks
        self._renderer = renderer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="validation images")
        self._pending: deque[tuple[int, Future[dict[str, float]]]] = deque()

    def wait(self) -> None:
        """Until nothing is rendered any more: before another copy of the network is made."""
        for _, rendering in self._pending:
            rendering.exception()

    def start(self, copy: Callable[[], LatentModels], step: int) -> None:
        """Begin with those of ``step``; ``copy``, called here, gives networks that do not change any more. Where there
        is no memory for them there are no images."""
        try:
            models = copy()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error)
        else:
            self._pending.append((step, self._pool.submit(self._render, models, step)))
            return
        release_memory()
        self._leave_out(step, f"there is no memory for a copy of the network: {failure}")

    def finished(self, wait: bool = False) -> list[tuple[int, dict[str, float]]]:
        """See ``task.LateFigures``."""
        found = []
        while self._pending and (wait or self._pending[0][1].done()):
            step, rendering = self._pending.popleft()
            found.append((step, rendering.result()))
        return found

    def _render(self, models: LatentModels, step: int) -> dict[str, float]:
        """What goes wrong with images is reported and costs the run nothing else."""
        try:
            return self._renderer.render(models, step)
        except Exception as error:
            if not (isinstance(error, LatentSyncError) or is_out_of_memory(error)):
                raise
            failure = str(error)
        release_memory()
        self._leave_out(step, failure)
        return dict.fromkeys(self.figures, math.nan)

    def _leave_out(self, step: int, why: str) -> None:
        self._notes.add(f"Step {step} has no validation images: {why}")


def fits_beside(device: torch.device, needed: int) -> bool:
    """Whether ``needed`` bytes are left on ``device`` beside all that the training has taken so far. What torch holds
    unused there is not left: the next step takes it. A processor has room; of other devices nobody knows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] >= needed
    return device.type == "cpu"

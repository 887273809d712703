"""Checkpoints: everything a run needs to resume as if it had never stopped, in folders that are whole or not there.

A checkpoint holds the network, the optimizer, the gradient scaler, every random generator of every process, and the
step number, which is also the position in the data.
"""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

from accelerate import Accelerator

from latentsync.atomic import atomic_folder, unfinished
from latentsync.errors import TrainingError
from latentsync.training.loop.sharding import Shards

_PREFIX = "step_"
_STATE = "progress.json"
_SHARDS = "shards"


@dataclass(slots=True)
class TrainingState:
    """How far a run is. ``step`` counts optimizer steps, skipped ones included."""

    step: int = 0
    best_score: float = float("-inf")  # of a validation, higher is better
    worse_validations: int = 0  # in a row, since the best one
    skipped_steps: int = 0
    roll_backs: int = 0
    seconds: float = 0.0  # of work, over all starts of the run


class CheckpointStore:
    """The checkpoints of one run; the newest ``keep`` of them stay. ``shards`` is what the accelerator does not see."""

    def __init__(self, folder: Path, keep: int, shards: Shards | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._shards = shards

    def newest(self) -> Path | None:
        """The complete checkpoint with the highest step."""
        found = self._complete()
        return found[-1] if found else None

    def save(self, accelerator: Accelerator, state: TrainingState) -> None:
        """Write a checkpoint; every process must call this. It appears under its name when it is on the disk whole."""
        target = self._folder / f"{_PREFIX}{state.step:09d}"
        partial = unfinished(target)
        with atomic_folder(target) if accelerator.is_main_process else nullcontext():
            accelerator.wait_for_everyone()
            accelerator.save_state(str(partial))
            if self._shards is not None:
                self._shards.save(partial / _SHARDS)
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                (partial / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
        if accelerator.is_main_process:
            for old in self._complete()[: -self._keep]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def load(self, accelerator: Accelerator) -> TrainingState | None:
        """Bring back the newest checkpoint; every process must call this. None if there is none.

        Raises ``TrainingError`` if it cannot be read.
        """
        path = self.newest()
        if path is None:
            return None
        if (path / _SHARDS).is_dir() != (self._shards is not None):
            raise TrainingError(
                f"The checkpoint {path} is {'not ' * (self._shards is not None)}of a sharded network.",
                remedy="run.sharded must stay as it was at the start of the run.",
            )
        try:
            state = _read_state(path / _STATE)
            accelerator.load_state(str(path))
            if self._shards is not None:
                self._shards.load(path / _SHARDS)
        except (OSError, EOFError, UnpicklingError, LookupError, ValueError, TypeError, RuntimeError) as error:
            raise TrainingError(
                f"The checkpoint {path} cannot be read: {error!r}",
                remedy="Move that folder away; the run then goes on from the checkpoint before it.",
            ) from error
        return state

    def _complete(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(p for p in self._folder.iterdir() if p.name.startswith(_PREFIX) and not p.suffix)


def _read_state(path: Path) -> TrainingState:
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("best_step", None)  # in checkpoints of older versions, and used nowhere
    return TrainingState(**values)

"""What the loop asks of the thing that is trained, and what a user can set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from latentsync.data.batches import SampleOrigin
from latentsync.data.clip_dataset import SampleKey
from latentsync.training.loop.charts import Panel
from latentsync.training.loop.optimizers import LearningRate, require_optimizer

Row = dict[str, float]  # of the metrics log: name of a figure -> value, with the key ``step``


class Batch(Protocol):
    """What the loop knows of a batch: it can be moved, and it says where its samples come from."""

    @property
    def origins(self) -> tuple[SampleOrigin, ...]:
        """Clip and first frame of every sample."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on ``device``, for which the host need not wait."""
        ...


class Samples(Protocol):
    """A map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey, /) -> Any: ...


BatchT = TypeVar("BatchT", bound=Batch)


class Task(Protocol[BatchT]):
    """What is trained, on batches of type ``BatchT``."""

    @property
    def network(self) -> nn.Module:
        """The network, as it was built."""
        ...

    @property
    def dataset(self) -> Samples:
        """What the loop draws from."""
        ...

    def collate(self, samples: list[Any], /) -> BatchT:
        """Stack samples of ``dataset`` into a batch."""
        ...

    def loss(self, network: nn.Module, batch: BatchT) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss of one batch, and detached scalar figures beside it, the same names every time. A figure named
        ``loss`` is written down in its place.

        ``network`` is the one to call: ``self.network`` as the loop wrapped it.
        """
        ...

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Figures of the validation set; ``score`` among them, equal on all processes, is the one that should rise.

        What comes later (``LateFigures``) is not a number here. Every process calls it at the same ``step``, in eval
        mode and without gradients. Raises ``OutOfMemoryError``, on all processes alike, to leave this validation out.
        """
        ...

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The charts of the run so far, from the tables ``train`` and ``validation``."""
        ...

    def export(self, path: Path, step: int) -> None:
        """Write the weights as a file that others can load.

        Called on the main process; with a sharded network on every process, of which only the main one writes.
        """
        ...

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Called on the main process after a row was added to a table, ``train`` or ``validation``: the place for
        alarms."""
        ...


class LateFigures(Protocol):
    """Figures of validations that become known while the training goes on."""

    def finished(self, wait: bool = False) -> list[tuple[int, dict[str, float]]]:
        """Step and figures of what has become known since the last call; ``wait``: of all that is begun."""
        ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How to train, whatever is trained. Steps are optimizer steps; ``batch_size`` counts clips per process.

    Raises ``ConfigError`` for an unknown optimizer.
    """

    max_steps: int
    batch_size: int
    learning_rate: LearningRate
    optimizer: str = "adamw"  # one of ``optimizers.OPTIMIZERS``
    accumulation: int = 1
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    num_workers: int = 0
    seed: int = 0
    log_steps: int = 10
    validation_steps: int = 1000
    save_steps: int = 1000
    keep_checkpoints: int = 3
    patience: int = 0  # validations in a row without a better score, after which the run is complete; 0 = it goes on
    max_seconds: float = math.inf  # of work, over all starts of the run, after which it is complete

    def __post_init__(self) -> None:
        require_optimizer(self.optimizer)

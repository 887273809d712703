"""Held-out validation: what is looked at, in batches that shrink when memory runs out.

A training leaves little memory free, and how much differs from one validation to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset

from latentsync.data.clip_dataset import SampleKey
from latentsync.errors import OutOfMemoryError, TrainingError
from latentsync.runtime.memory import is_out_of_memory, release_memory
from latentsync.runtime.shared_memory import workers_that_fit
from latentsync.training.loop.task import Samples

logger = logging.getLogger(__name__)

RowT = TypeVar("RowT")


def loader_of(
    dataset: Samples,
    keys: Iterable[SampleKey],
    batch_size: int,
    collate: Callable[[list[Any]], Any],
    device: torch.device,
    num_workers: int = 0,
) -> DataLoader[Any]:
    """The samples ``keys`` in batches, in that order; drawing them changes no global random state."""
    keys = list(keys)
    return DataLoader(
        cast(Dataset[Any], dataset),  # which torch knows as a class only
        sampler=keys,
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=workers_that_fit(num_workers, lambda: collate([dataset[keys[0]]]), batch_size) if keys else 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # of its own, so that starting workers draws nothing from the global one
    )


def rows_of_all(
    accelerator: Accelerator, score: Callable[[int], list[RowT]], batch_size: int, together: bool = False
) -> list[RowT]:
    """The rows of all processes in their order: ``score(size)`` gives those of this one, in batches of ``size``.

    Where memory runs out, the rows are computed anew in batches of half the size. Raises ``OutOfMemoryError``, on all
    processes alike, if a batch of one does not fit on one of them. ``together``: the processes need each other for
    every batch, as those of a sharded network; then ``TrainingError`` is raised at once, since none can go on alone.
    """
    if together:
        try:
            return gather_object(score(batch_size))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"Validation of the sharded network ran out of memory: {error}",
                remedy="Set data.batch_size lower, or train on more GPUs.",
            ) from error
    parts = gather_object([_with_smaller_batches(score, batch_size)])
    if any(part is None for part in parts):
        raise OutOfMemoryError(
            "A validation batch of one sample does not fit into memory beside the training.",
            remedy="Set data.batch_size lower, or leave out what else uses this GPU.",
        )
    return [row for part in parts for row in part]


def _with_smaller_batches(score: Callable[[int], list[RowT]], batch_size: int) -> list[RowT] | None:
    """None if not even a batch of one fits."""
    while batch_size:
        try:
            return score(batch_size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        release_memory()  # outside of the handler, whose traceback holds the tensors of the batch
        logger.warning("Validation in batches of %d ran out of memory: %s", batch_size, reason)
        batch_size //= 2
    return None

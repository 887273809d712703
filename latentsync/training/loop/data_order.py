"""Which sample every process sees at every step: a pure function, so the position in the data is the step number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latentsync.data.clip_dataset import SampleKey


@dataclass(frozen=True, slots=True)
class StepBatches:
    """Batches of one process for the steps ``first_step`` to ``last_step - 1``; a batch sampler for a ``DataLoader``.

    A step takes ``accumulation`` batches of ``batch_size`` from each of ``n_processes``. The samples of a step depend
    only on the product of the three: two processes see together what one with the double batch sees. Every place of
    the data set comes once per epoch, in an order that ``seed`` and the epoch choose.
    """

    n_samples: int
    batch_size: int
    accumulation: int
    n_processes: int
    process: int
    seed: int
    first_step: int
    last_step: int

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.accumulation

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.first_step, self.last_step):
            for part in range(self.accumulation):
                first = ((step * self.accumulation + part) * self.n_processes + self.process) * self.batch_size
                yield [self._key(step, first + k) for k in range(self.batch_size)]

    def _key(self, step: int, serial: int) -> SampleKey:
        """The sample with number ``serial`` since the start of the training."""
        epoch, place = divmod(serial, self.n_samples)
        return SampleKey(epoch, int(_order(self.seed, epoch, self.n_samples)[place]), step)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n_samples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n_samples)

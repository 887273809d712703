"""What both datasets share: samples that depend on nothing but (seed, epoch, index), and bad clips that are replaced.

A bad clip is replaced inside the dataset, by a clip that the same three numbers choose. So every process of a
distributed run does the same number of steps, and a run that is repeated or resumed gets the same samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset

from latentsync.data.batches import ClipFault
from latentsync.data.manifest import Clip, fault_table
from latentsync.errors import DataError

Sample = TypeVar("Sample")
MAX_ATTEMPTS = 10  # clips tried for one sample; with a tenth of all clips bad, one sample in 10^10 uses them up


@dataclass(frozen=True, slots=True, order=True)
class SampleKey:
    """Which sample: its place ``index`` in the data set, how often that place came before, and the training step."""

    epoch: int
    index: int
    step: int = 0


class BadClip(Exception):  # noqa: N818  from the reading code to the replacing code; no caller gets it
    """This clip cannot give a sample."""

    def __init__(self, clip: Clip, reason: str) -> None:
        super().__init__(reason)
        self.fault = ClipFault(str(clip.path), reason, clip.content)


class ClipDataset(Dataset, ABC, Generic[Sample]):
    """A map from ``SampleKey`` (or a plain index, which means epoch 0) to samples of clips.

    ``index`` names the clip ``index % len(clips)``. Nothing is remembered of a clip that failed: it may give another
    sample, and which samples a process read before must not decide.
    """

    def __init__(self, clips: Sequence[Clip], seed: int) -> None:
        if not clips:
            raise DataError("A data set without clips was asked for.", remedy="See the report of the clips.")
        self.clips = tuple(clips)
        self._seed = seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Raises ``DataError`` with all reasons after ``MAX_ATTEMPTS`` bad clips in a row, ``IndexError`` below 0."""
        if not isinstance(key, SampleKey):
            key = SampleKey(0, key)
        if key.index < 0:
            raise IndexError(key.index)
        faults: list[ClipFault] = []
        for attempt in range(MAX_ATTEMPTS):
            rng = np.random.default_rng([self._seed, key.epoch, key.index, attempt])
            place = key.index % len(self.clips) if attempt == 0 else int(rng.integers(len(self.clips)))
            try:
                return self._sample(self.clips[place], key, rng, tuple(faults))
            except BadClip as bad:
                faults.append(bad.fault)
        raise DataError(
            f"{len(faults)} clips in a row could not be used for sample {key.index} of epoch {key.epoch}:\n"
            f"{fault_table(faults)}",
            remedy="Run `latentsync preprocess` over the clips, or take the bad ones out of the list.",
        )

    @abstractmethod
    def _sample(self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]) -> Sample:
        """One sample of ``clip``; raises ``BadClip`` for the clip that is to blame."""

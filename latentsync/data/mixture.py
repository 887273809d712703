"""Several data sets as one, each with a share of the samples that does not depend on its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from latentsync.data.clip_dataset import SampleKey
from latentsync.errors import ConfigError


class SampleSource(Protocol):
    """A map-style data set by ``SampleKey``."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A data set, and its share of the samples in whatever unit the other shares have."""

    samples: SampleSource
    share: float


class Mixture(Dataset[Any]):
    """The samples of all ``parts``, as many of each as its share says, to the nearest sample of an epoch.

    Which sample a key names follows from the key alone: place ``index`` of epoch ``epoch`` belongs to one part, and
    counts on in that part's own epochs, in which each of its samples comes once, in an order that ``seed`` chooses. So
    a small part is repeated more often, a large one takes several epochs of the mixture, and a resumed run sees what
    an undisturbed one does. An epoch is as long as all parts together, and at least ``least`` samples.

    Raises ``ConfigError`` for shares that are not positive.
    """

    def __init__(self, parts: Mapping[str, Part], seed: int, least: int = 200) -> None:
        wrong = [name for name, part in parts.items() if not part.share > 0]
        if wrong or not parts:
            raise ConfigError(
                f"The shares of {', '.join(wrong) or 'no data set'} are not positive.",
                remedy="Leave a place of clips out to see nothing of it.",
            )
        self.names = tuple(parts)
        self._parts = tuple(parts.values())
        self._seed = seed
        length = max(least, sum(len(part.samples) for part in self._parts))
        shares = np.array([part.share for part in self._parts])
        self._counts = np.maximum(1, np.round(shares / shares.sum() * length).astype(int))
        # Places of a part lie evenly over the epoch, so that any stretch of it is mixed like the whole.
        moments = np.concatenate([(np.arange(count) + 0.5) / count for count in self._counts])
        order = np.argsort(moments, kind="stable")
        self._part_of = np.repeat(np.arange(len(shares)), self._counts)[order]
        self._number_of = np.concatenate([np.arange(count) for count in self._counts])[order]

    def __len__(self) -> int:
        return len(self._part_of)

    def __getitem__(self, key: SampleKey) -> Any:
        """The sample of a part."""
        part, own = self.find(key)
        return self._parts[part].samples[own]

    def find(self, key: SampleKey) -> tuple[int, SampleKey]:
        """Number of the part, and the key in it."""
        epochs, place = divmod(key.index, len(self))
        part = int(self._part_of[place])
        size = len(self._parts[part].samples)
        serial = (key.epoch + epochs) * int(self._counts[part]) + int(self._number_of[place])
        epoch, position = divmod(serial, size)
        return part, SampleKey(epoch, int(_order(self._seed + part, epoch, size)[position]), key.step)


@lru_cache(maxsize=16)
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)

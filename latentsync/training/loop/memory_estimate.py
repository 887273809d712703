"""How much memory a training step takes, before anything is loaded: the step is run on tensors without content."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

GIB = 2**30


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on each device: what lies there all the time, and the peak of what a step adds to it.

    Not counted: the framework itself, the work space of its kernels, and what its allocator cannot reuse; a tenth more
    than the sum is a fair guess.
    """

    weights: int  # of the trained network, trained or not
    optimizer: int  # AdamW's two moments and the average, of what is trained
    frozen: int  # the networks around it
    step: int  # activations and gradients

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.optimizer + self.frozen + self.step

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name) / GIB:.1f}" for name in ("weights", "optimizer", "frozen", "step"))
        return f"about {self.total / GIB:.1f} GiB on each device ({', '.join(parts)})"


class PeakMemory(TorchDispatchMode):
    """Within the block, ``peak`` is the most bytes that tensors made in it held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._now -= size


def nbytes(network: nn.Module, trained_only: bool = False) -> int:
    """Of a network's parameters and, unless only the trained ones count, its buffers."""
    tensors = [p for p in network.parameters() if p.requires_grad or not trained_only]
    if not trained_only:
        tensors += list(network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

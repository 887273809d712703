"""EMA: a slow average of the weights, which is scored and exported in place of the weights of the moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA:
    """Exponential moving average of ``parameters``, in their precision and on their device.

    The first updates use a smaller decay, (1 + n) / (10 + n), so that the start is forgotten soon.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._updates = 0
        self._in_use = False
        self._average = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of the moment."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        get_ema_multi_avg_fn(decay)(self._average, [p.detach() for p in self._parameters], None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, and within further ones inside it, the network has the averaged weights."""
        if self._in_use:
            yield
            return
        self._swap()
        self._in_use = True
        try:
            yield
        finally:
            self._swap()
            self._in_use = False

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._average, strict=True):
            moment = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(moment)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"updates": self._updates, "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back what ``state_dict`` gave."""
        self._updates = state["updates"]
        for average, stored in zip(self._average, state["average"], strict=True):
            average.copy_(stored)

"""Batches move as one, the batches in them included."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from latentsync.data.batches import TensorBatch


@dataclass
class Part:
    """Stands for a tensor: remembers where it was sent, and how."""

    calls: list[Any] = field(default_factory=list)

    def to(self, device, non_blocking):
        return Part([*self.calls, (str(device), non_blocking)])

    def pin_memory(self):
        return Part([*self.calls, "pinned"])


@dataclass(frozen=True, slots=True)
class Inner(TensorBatch):
    part: Part
    absent: Part | None


@dataclass(frozen=True, slots=True)
class Outer(TensorBatch):
    inner: Inner
    part: Part
    origins: tuple[str, ...]


BATCH = Outer(Inner(Part(), None), Part(), ("a",))


@pytest.mark.parametrize(("device", "non_blocking"), [("cuda:1", True), ("cuda", True), ("cpu", False), ("mps", False)])
def test_every_tensor_is_sent_and_only_a_cuda_device_fetches_by_itself(device, non_blocking):
    for place in (device, torch.device(device)):
        sent = BATCH.to(place)
        assert sent.part.calls == sent.inner.part.calls == [(device, non_blocking)]
        assert sent.inner.absent is None
        assert sent.origins == ("a",)
    assert BATCH.part.calls == []


def test_every_tensor_is_pinned():
    pinned = BATCH.pin_memory()
    assert pinned.part.calls == pinned.inner.part.calls == ["pinned"]

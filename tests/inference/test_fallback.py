"""Networks go into a safer precision and come back exactly as they were loaded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentsync.errors import OutOfMemoryError
from latentsync.inference import fallback as module
from latentsync.inference.fallback import PrecisionFallback
from latentsync.inference.latent_generator import LatentModels

CPU = torch.device("cpu")


class Graphs:
    forgotten = 0

    def forget(self):
        self.forgotten += 1


def models_in(dtype):
    torch.manual_seed(0)
    unet = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)).to(dtype).to(memory_format=torch.channels_last)
    return LatentModels(unet, nn.Linear(4, 4).to(dtype), CPU, dtype)


def tensors_of(models):
    return [tensor.clone() for network in (models.unet, models.codec) for tensor in network.state_dict().values()]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, [torch.bfloat16, torch.float32]),
        (torch.bfloat16, [torch.float32]),
        (torch.float32, []),
    ],
)
def test_bfloat16_comes_before_float32(monkeypatch, dtype, expected):
    monkeypatch.setattr(module, "works_on", lambda device, dtype: dtype == torch.bfloat16)
    assert PrecisionFallback(models_in(dtype)).precisions() == expected
    monkeypatch.setattr(module, "works_on", lambda device, dtype: False)
    assert PrecisionFallback(models_in(torch.float16)).precisions() == [torch.float32]


def test_each_precision_is_made_of_the_loaded_weights_which_come_back():
    models = models_in(torch.float16)
    loaded, fallback = tensors_of(models), PrecisionFallback(models)
    models.graphs = graphs = Graphs()
    for dtype in (torch.bfloat16, torch.float32):
        fallback.convert(dtype)
        assert models.dtype == dtype
        for now, before in zip(tensors_of(models), loaded, strict=True):
            expected = before.to(dtype) if before.is_floating_point() else before
            assert now.dtype == expected.dtype and torch.equal(now, expected)
    assert models.unet[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert graphs.forgotten == 2  # they would read weights where there are none any more
    fallback.restore()
    assert graphs.forgotten == 3
    assert models.dtype == torch.float16 and models.unet[1].num_batches_tracked.dtype == torch.int64
    for now, before in zip(tensors_of(models), loaded, strict=True):
        assert now.dtype == before.dtype and torch.equal(now, before)


def test_without_room_the_precision_before_stays(monkeypatch):
    models = models_in(torch.float16)
    fallback = PrecisionFallback(models)
    fallback.convert(torch.bfloat16)
    before = tensors_of(models)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1)
    with pytest.raises(OutOfMemoryError, match="networks in float32, which float16 is too coarse for"):
        fallback.convert(torch.float32)
    assert models.dtype == torch.bfloat16
    assert all(torch.equal(now, each) for now, each in zip(tensors_of(models), before, strict=True))

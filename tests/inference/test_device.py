"""Precisions are chosen by what works, and a missing one is named."""

from __future__ import annotations

import pytest
import torch

from latentsync.errors import DeviceError, OutOfMemoryError
from latentsync.inference.device import choose_precision, measure_speed, probe_error


def test_automatic_choice_on_a_cpu_is_full_precision():
    assert choose_precision("auto", torch.device("cpu")) is torch.float32


def test_an_unknown_precision_is_named():
    with pytest.raises(DeviceError, match="fp7"):
        choose_precision("fp7", torch.device("cpu"))


def test_probe_sees_exact_and_rough_arithmetic():
    assert probe_error(torch.device("cpu"), torch.float32) < 1e-6
    assert 1e-4 < probe_error(torch.device("cpu"), torch.bfloat16) < 4e-2


def test_a_device_without_room_is_not_one_without_half_precision(monkeypatch):
    def no_room(*arguments, **more):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(torch.nn.functional, "conv2d", no_room)
    with pytest.raises(OutOfMemoryError, match="precisions of meta"):
        choose_precision("auto", torch.device("meta"))


@pytest.mark.parametrize("peak", [50e9, 5e12, 800e12])
def test_the_speed_of_an_accelerator_is_not_that_of_its_waits(monkeypatch, peak):
    """A device that computes at ``peak``, and whose host waits 50 us for every answer."""
    spent = []

    def seconds(n, products, where, dtype):
        spent.append(50e-6 + products * (5e-6 + 2 * n**3 / peak))
        return spent[-1]

    monkeypatch.setattr("latentsync.inference.device._time_products", seconds)
    measured = measure_speed(torch.device("cuda"), torch.float16)
    assert 0.8 * peak < measured <= peak and sum(spent) < 0.6


def test_the_speed_of_products_is_that_of_the_clock():
    assert 1e6 < measure_speed(torch.device("cpu"), torch.float32, 64) < 1e15

"""Devices and precisions are chosen by what works, and a missing one is named."""

from __future__ import annotations

import pytest
import torch

from latentsync.errors import DeviceError
from latentsync.inference.device import choose_device, choose_precision, probe_error


def test_automatic_choice_on_a_cpu_is_full_precision():
    assert choose_precision("auto", torch.device("cpu")) is torch.float32
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "gpu!"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(DeviceError, match=name):
        choose_device(name)


def test_an_unknown_precision_is_named():
    with pytest.raises(DeviceError, match="fp7"):
        choose_precision("fp7", torch.device("cpu"))


def test_probe_sees_exact_and_rough_arithmetic():
    assert probe_error(torch.device("cpu"), torch.float32) < 1e-6
    assert 1e-4 < probe_error(torch.device("cpu"), torch.bfloat16) < 4e-2

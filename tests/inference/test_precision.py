"""Precisions are chosen by what works, a missing one is named; bfloat16 on a processor where it is quicker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.errors import DeviceError, OutOfMemoryError
from latentsync.inference import precision
from latentsync.inference.precision import choose_precision, common_precision, measure_speed, probe_error
from latentsync.inference.weights import BUILTIN_UNET

CPU = torch.device("cpu")


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
        return spent[-1], spent[-1]

    monkeypatch.setattr("latentsync.inference.precision._time_products", seconds)
    measured = measure_speed(torch.device("cuda"), torch.float16)
    assert 0.8 * peak < measured <= peak and sum(spent) < 0.6


def test_a_busy_machine_is_not_taken_for_a_slow_one(monkeypatch):
    def wait_and_work(n, products, where, dtype):
        work = products * 2 * n**3 / 1e11
        return 0.1 + work, work

    monkeypatch.setattr("latentsync.inference.precision._time_products", wait_and_work)
    assert measure_speed(torch.device("cpu"), torch.float32) > 1e10, "as fast as the largest product, wait included"


def test_the_speed_of_products_is_that_of_the_clock():
    assert 1e6 < measure_speed(torch.device("cpu"), torch.float32, 64) < 1e15


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    precision._decide.cache_clear()


def choose(unet: Path = BUILTIN_UNET, resolution: int = 128) -> torch.dtype:
    return common_precision("auto", [CPU], unet, resolution)


def never(*arguments: object) -> bool:
    raise AssertionError("the layers were timed")


@pytest.mark.usefixtures("fresh")
def test_without_the_instructions_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(precision, "_half_is_quicker", never)
    assert choose() is torch.float32


@pytest.mark.usefixtures("fresh")
def test_small_networks_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_half_is_quicker", never)
    assert choose(resolution=32) is torch.float32  # a sixteenth of the work


@pytest.mark.parametrize(("quicker", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
@pytest.mark.usefixtures("fresh")
def test_a_decision_stays(monkeypatch: pytest.MonkeyPatch, quicker: bool, chosen: torch.dtype) -> None:
    asked = []
    monkeypatch.setattr(precision, "_half_is_quicker", lambda *stages: asked.append(stages) or quicker)
    assert choose() is chosen
    stages, _, side = asked[0]
    assert side == 16 and {next(stage.parameters()).dtype for stage in stages.values()} == set(stages)
    monkeypatch.setattr(precision, "_half_is_quicker", never)
    assert choose() is chosen
    precision._decide.cache_clear()  # as in another process
    assert choose() is chosen


@pytest.mark.usefixtures("fresh")
def test_what_is_asked_for_is_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_precision", never)
    assert common_precision("fp32", [CPU], BUILTIN_UNET, 128) is torch.float32
    assert common_precision("bf16", [CPU], BUILTIN_UNET, 128) is torch.bfloat16
    assert common_precision("auto", [CPU]) is torch.float32  # where nobody knows the network


@pytest.mark.parametrize(("durations", "chosen"), [((9, 8), torch.bfloat16), ((8, 9), torch.float32)])
@pytest.mark.usefixtures("fresh")
def test_the_first_layers_are_timed(monkeypatch: pytest.MonkeyPatch, durations, chosen: torch.dtype) -> None:
    """With a clock by which either precision takes as long as ``durations`` says."""
    readings = [0.0]
    for _ in range(1 + precision.ROUNDS):
        for seconds in durations:
            readings += [readings[-1], readings[-1] + seconds]
    clock = iter(readings[1:])
    monkeypatch.setattr(precision.time, "process_time", lambda: next(clock))
    assert choose() is chosen
    assert not list(clock)

"""On a processor 'auto' computes in bfloat16 where that is quicker, and two runs decide alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.inference import cpu_precision
from latentsync.inference.device import common_precision
from latentsync.inference.weights import BUILTIN_UNET

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu_precision, "cpu_has_bf16", lambda: True)
    cpu_precision._decide.cache_clear()


def choose(unet: Path = BUILTIN_UNET, resolution: int = 128) -> torch.dtype:
    return common_precision("auto", [CPU], unet, resolution)


def never(*arguments: object) -> bool:
    raise AssertionError("the layers were timed")


def test_without_the_instructions_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_precision, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(cpu_precision, "_half_is_quicker", never)
    assert choose() is torch.float32


def test_small_networks_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_precision, "_half_is_quicker", never)
    assert choose(resolution=32) is torch.float32  # a sixteenth of the work


@pytest.mark.parametrize(("quicker", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_decision_stays(monkeypatch: pytest.MonkeyPatch, quicker: bool, chosen: torch.dtype) -> None:
    asked = []
    monkeypatch.setattr(cpu_precision, "_half_is_quicker", lambda *stages: asked.append(stages) or quicker)
    assert choose() is chosen
    stages, _, side = asked[0]
    assert side == 16 and {next(stage.parameters()).dtype for stage in stages.values()} == set(stages)
    monkeypatch.setattr(cpu_precision, "_half_is_quicker", never)
    assert choose() is chosen
    cpu_precision._decide.cache_clear()  # as in another process
    assert choose() is chosen


def test_what_is_asked_for_is_what_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_precision, "cpu_precision", never)
    assert common_precision("fp32", [CPU], BUILTIN_UNET, 128) is torch.float32
    assert common_precision("bf16", [CPU], BUILTIN_UNET, 128) is torch.bfloat16
    assert common_precision("auto", [CPU]) is torch.float32  # where nobody knows the network


@pytest.mark.parametrize(("durations", "chosen"), [((9, 8), torch.bfloat16), ((8, 9), torch.float32)])
def test_the_first_layers_are_timed(monkeypatch: pytest.MonkeyPatch, durations, chosen: torch.dtype) -> None:
    """With a clock by which either precision takes as long as ``durations`` says."""
    readings = [0.0]
    for _ in range(1 + cpu_precision.ROUNDS):
        for seconds in durations:
            readings += [readings[-1], readings[-1] + seconds]
    clock = iter(readings[1:])
    monkeypatch.setattr(cpu_precision.time, "process_time", lambda: next(clock))
    assert choose() is chosen
    assert not list(clock)

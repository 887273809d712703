"""Memory is counted without a GPU; the quick size."""

from __future__ import annotations

from benchmarks import counted_memory
from tests.benchmarks.commands import run_benchmark


def test_a_small_network_is_counted(monkeypatch, capsys):
    found = run_benchmark(counted_memory, ["--models", "tiny", "--cards", "4"], monkeypatch, capsys)
    detector, networks, card = found["rows"]
    assert detector["at work"] > detector["detector"] > 0.1
    assert 0 < networks["unet 1"] < networks["unet 2"] < networks["unet 4"] < 0.1
    assert card["windows"] == 16 and networks["networks"] < card["counted"] < card["expected"] < 4

"""The benchmark of who speaks, small: every verdict is counted once."""

from __future__ import annotations

import pytest

from benchmarks import active_speaker
from tests.benchmarks.commands import run_benchmark


def test_every_verdict_is_right_wrong_or_unsure(monkeypatch, capsys):
    words = ["--scenes", "1", "--faces", "2", "--seconds", "2"]
    figures = run_benchmark(active_speaker, words, monkeypatch, capsys)["figures"]["2 faces"]
    assert 1 <= figures["verdicts"] <= 10
    assert figures["right"] + figures["wrong"] + figures["unsure"] == pytest.approx(1, abs=1e-3)
    assert figures["right"] >= 0.5

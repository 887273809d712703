"""The table of few steps with tiny networks: a row is measured once, and its operations are counted."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import few_steps


def test_rows_are_measured_against_exact_and_not_twice(tmp_path, monkeypatch):
    row = "2 steps, not guided"
    arguments = ["--clips", "1", "--model", "tiny", "--sizes", "tiny", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["few_steps", *arguments, "--rows", "exact", row])
    monkeypatch.setattr(few_steps, "FRAMES", 20)
    few_steps.main()
    found = json.loads((tmp_path / "few_steps.json").read_text("utf-8"))
    assert list(found) == ["exact", row] and min(found[row]["talker 100"].values()) > 5
    assert list(found["exact"]["talker 100"]) == ["truth"]
    found[row]["talker 100"]["exact"] = 12.34
    (tmp_path / "few_steps.json").write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(few_steps, "LatentGenerator", None)  # nothing is left to do
    few_steps.main()
    lines = (tmp_path / "few_steps.md").read_text("utf-8").splitlines()
    exact, few = ([float(cell) for cell in line.split("|")[5:7]] for line in lines[2:4])
    assert "12.3 (12.3)" in lines[3]
    assert (tmp_path / "few_steps.png").stat().st_size > 5000
    # 20 steps of two evaluations each, which share a part, against 2 of one
    assert few[0] == pytest.approx(2 / 40 * exact[0], rel=0.2) and few[0] < few[1]

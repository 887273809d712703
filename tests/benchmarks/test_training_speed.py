import pytest

from benchmarks import training_speed
from tests.benchmarks.commands import run_benchmark


def test_a_stage_is_timed_plain_cached_and_as_the_product_does_it(monkeypatch, capsys):
    arguments = ["--stages", "stage1", "--size", "tiny", "--steps", "1"]
    found = run_benchmark(training_speed, arguments, monkeypatch, capsys)
    (row,) = found["rows"]
    speeds = row["samples_per_second"]
    assert list(speeds) == ["plain", "cached", "product"]
    assert all(speed > 0 for speed in speeds.values())
    assert row["gain"] == pytest.approx(speeds["product"] / speeds["plain"], rel=1e-4)
    assert row["gain_of_cache"] == pytest.approx(speeds["cached"] / speeds["plain"], rel=1e-4)

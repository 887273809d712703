import pytest

from benchmarks import training_speed
from benchmarks.training_speed import gains, take_turns
from tests.benchmarks.commands import run_benchmark


def test_a_stage_is_timed_plain_cached_and_as_the_product_does_it(monkeypatch, capsys):
    arguments = ["--stages", "stage1", "--size", "tiny", "--steps", "1"]
    found = run_benchmark(training_speed, arguments, monkeypatch, capsys)
    (row,) = found["rows"]
    assert row["gradient_checkpointing"] is False  # there is memory enough for networks this small
    for speeds, ratios in (("samples_per_second", "gains"), ("samples_per_processor_second", "processor_gains")):
        assert list(row[speeds]) == ["plain", "cached", "product"]
        assert all(speed > 0 for speed in row[speeds].values())
        for way in ("cached", "product"):  # of one round
            assert row[ratios][way] == pytest.approx(row[speeds][way] / row[speeds]["plain"], rel=1e-4)


class Steps:
    """Writes down whose step it was."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def step(self):
        self.log.append(self.name)
        return float(len(self.log)), 1.0


def test_every_round_begins_with_another_way_and_the_first_one_is_not_counted():
    log = []
    seconds = take_turns({name: Steps(name, log) for name in "abc"}, rounds=2)
    assert "".join(log) == "abcbcacab"
    assert {way: [taken[0] for taken in each] for way, each in seconds.items()} == {
        "a": [6, 8],
        "b": [4, 9],
        "c": [5, 7],
    }


def test_a_gain_is_that_of_steps_of_one_round():
    slowing_down = {"plain": [(2.0, 2.0), (4.0, 2.0), (20.0, 2.0)], "product": [(1.0, 1.0), (2.0, 0.5), (10.0, 1.0)]}
    assert gains(slowing_down, 0) == {"product": 2.0}
    assert gains(slowing_down, 1) == {"product": 2.0}

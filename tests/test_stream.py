"""Stages run side by side, in order, and stop when they are told to."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from latentsync.stream import parallel_map, prefetch

ROOT = Path(__file__).parents[1]


def slow(items, seconds=0.01):
    for item in items:
        time.sleep(seconds)
        yield item


def test_order_and_values_are_kept():
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert list(parallel_map(lambda x: x * x, iter(range(50)), workers=3)) == [x * x for x in range(50)]


@pytest.mark.alone
def test_stages_overlap():
    """Three stages of 10 ms a piece cost little more than one of them."""
    start = time.perf_counter()
    assert sum(1 for _ in prefetch(slow(prefetch(slow(prefetch(slow(range(60)))))))) == 60
    assert time.perf_counter() - start < 1.3 * 60 * 0.0105 + 0.1


def test_never_more_than_depth_ahead():
    produced = []

    def source():
        for number in range(100):
            produced.append(number)
            yield number

    stream = prefetch(source(), depth=4)
    next(stream)
    time.sleep(0.2)
    assert len(produced) <= 1 + 4 + 1  # taken, queued, one in hand
    stream.close()


def test_an_error_arrives_after_the_values_before_it():
    def broken():
        yield 1
        raise ValueError("third frame")

    stream = prefetch(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="third frame"):
        next(stream)


@pytest.mark.parametrize("wrap", [prefetch, lambda items: parallel_map(lambda x: x, items)])
def test_closing_early_runs_the_producers_finally(wrap):
    closed = threading.Event()

    def source():
        try:
            yield from range(10**6)
        finally:
            closed.set()

    stream = wrap(prefetch(source()))
    next(stream)
    stream.close()
    assert closed.wait(5)
    assert not [t for t in threading.enumerate() if t.name == "prefetch" and t.is_alive()]


def test_parallel_map_raises_in_the_place_of_the_failure():
    def fail_at_three(x):
        if x == 3:
            raise KeyError(x)
        return x

    seen = []
    with pytest.raises(KeyError):
        for value in parallel_map(fail_at_three, range(10)):
            seen.append(value)
    assert seen == [0, 1, 2]


def test_depth_must_be_positive():
    with pytest.raises(ValueError):
        next(prefetch([], depth=0))


@pytest.mark.parametrize("given_up", [True, False], ids=["given up", "finished"])
def test_a_program_ends_with_its_code_though_a_step_still_runs(given_up):
    """Without ``leave`` the first one ends with SIGABRT."""
    code = f"""
import atexit, time, torch
from latentsync.stream import exit_process, prefetch

def steps():
    x = torch.rand(500, 500)
    yield x
    end = time.monotonic() + {6 if given_up else 0}
    while time.monotonic() < end:
        x = x @ x / 250

run = prefetch(steps())
{"next(run)" if given_up else "list(run)"}
run.close()
atexit.register(lambda: print("cleared up"))
print("last words")
exit_process(7)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert ended.stdout.startswith("last words")
    assert given_up or "cleared up" in ended.stdout

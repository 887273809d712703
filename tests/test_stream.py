"""Stages run side by side, in order, and stop when they are told to."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latentsync.stream import deal, parallel_map, prefetch

ROOT = Path(__file__).parents[1]
PATIENCE = 300  # seconds until something that must happen is given up


def test_order_and_values_are_kept():
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert list(parallel_map(lambda x: x * x, iter(range(50)), workers=3)) == [x * x for x in range(50)]


def test_stages_overlap():
    """Three stages are at work at once: each stops at one of its items until the others have come to theirs."""
    meeting = threading.Barrier(3)

    def stage(items, meets_at):
        for number, item in enumerate(items):
            if number == meets_at:
                meeting.wait(PATIENCE)  # raises BrokenBarrierError if they cannot meet
            yield item

    assert list(prefetch(stage(prefetch(stage(prefetch(stage(range(60), 14)), 12)), 10))) == list(range(60))


def test_stages_of_a_pool_overlap():
    meeting = threading.Barrier(3)
    assert list(parallel_map(lambda number: meeting.wait(PATIENCE) >= 0, range(9), workers=3)) == [True] * 9


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
    assert closed.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "prefetch":
            thread.join(PATIENCE)
            assert not thread.is_alive()


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
    """Without ``exit_process`` the first one ends with SIGABRT."""
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
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert ended.stdout.startswith("last words")
    assert given_up or "cleared up" in ended.stdout


def test_dealt_items_reach_each_taker_once_and_an_error_reaches_all():
    asked: list[int] = []

    def numbers():
        for number in range(6):
            asked.append(number)
            yield number
        raise ValueError("over")

    first, second = deal(numbers(), 2)
    assert next(first) == 0 and asked == [0]  # nothing is produced before somebody asks
    assert [next(second), next(second), next(first)] == [0, 1, 1] and asked == [0, 1]
    for branch in (first, second):
        with pytest.raises(ValueError, match="over"):
            list(branch)
    odd, even = deal(range(6), 2, lambda number: (int(number % 2 == 0),))
    assert (list(even), list(odd)) == ([0, 2, 4], [1, 3, 5])


def test_branches_may_be_consumed_in_threads_of_their_own():
    branches = deal(iter(range(2000)), 3)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(list, branches)) == [list(range(2000))] * 3


LEFT_OPEN = """
import cv2, numpy as np
from latentsync.stream import parallel_map, prefetch

def work():
    image = np.zeros((1000, 1000), np.float32)
    try:
        while True:  # hardly ever outside native code
            yield cv2.GaussianBlur(image, (0, 0), 5)[0, 0]
    finally:
        print("closed")

stream = prefetch(parallel_map(lambda value: value, prefetch(work(), depth=2)), depth=1_000_000)
print(next(stream))
"""


def test_an_iterator_left_open_at_the_end_of_the_interpreter_is_stopped():
    """Otherwise its threads are ended by force in the middle of native code, which aborts the process."""
    run = subprocess.run([sys.executable, "-c", LEFT_OPEN], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, ["0.0", "closed"], "")

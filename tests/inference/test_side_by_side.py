"""Windows on threads of their own: order, shares, failures."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from latentsync.inference.side_by_side import SideBySide
from latentsync.types import Window


class Stub:
    """Gives every window its number; notes who computed which windows, on how many threads of torch."""

    resolution = 8

    def __init__(self):
        self.calls = []
        self.failing = None
        self.together = None

    def __call__(self, windows):
        if self.together is not None:
            self.together.wait(timeout=10)  # raises unless all shares are computed at the same time
        numbers = [window.number for window in windows]
        self.calls.append((numbers, threading.current_thread().name, torch.get_num_threads()))
        if self.failing in numbers:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return np.stack([np.full((2, 3, 8, 8), number, np.float32) for number in numbers])


def windows(count):
    return [
        Window(number, np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 50, 4), np.float32)) for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "threads", "shares"),
    [
        (1, 3, [([0], 3)]),
        (2, 3, [([0], 1), ([1], 1)]),
        (2, 4, [([0], 2), ([1], 2)]),
        (5, 2, [([0, 1], 1), ([2, 3, 4], 1)]),
        (3, 1, [([0, 1, 2], 1)]),
    ],
)
def test_every_thread_has_its_share_and_the_order_stays(count, threads, shares):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        stub = Stub()
        stub.together = threading.Barrier(len(shares))
        faces = SideBySide(stub)(windows(count))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert faces[:, 0, 0, 0, 0].tolist() == list(range(count))
    assert sorted((numbers, used) for numbers, _, used in stub.calls) == shares


def test_a_failure_is_raised_and_the_next_call_works():
    stub = Stub()
    generate = SideBySide(stub, threads=2)
    stub.failing = 2
    with pytest.raises(RuntimeError, match="allocate memory"):
        generate(windows(4))
    assert len(stub.calls) == 2  # the other share was not left running
    stub.failing = None
    assert len(generate(windows(4))) == 4

"""Batches shrink instead of failing; windows side by side keep their order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from latentsync.errors import OutOfMemoryError
from latentsync.inference.batching import AdaptiveBatch, OverDevices, SideBySide, generate_groups
from latentsync.inference.record import StageClock
from latentsync.inference.windows import FrameGroup
from latentsync.types import Window
from tests.inference.world import Identity

SIDE = 32
PATIENCE = 300  # seconds until something that must happen is given up


def window(number, frames=4):
    return Window(number, np.full((frames, 3, SIDE, SIDE), number, np.float32), np.zeros((frames, 1, 1), np.float32))


class LimitedMemory:
    """Returns its crops; refuses more than ``limit`` windows at a time."""

    resolution = SIDE

    def __init__(self, limit, error=torch.OutOfMemoryError):
        self.limit, self.error, self.calls = limit, error, []

    def __call__(self, windows):
        self.calls.append(len(windows))
        if len(windows) > self.limit:
            raise self.error("CUDA out of memory.")
        return np.stack([w.faces for w in windows])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_batch_halves_until_it_fits_and_nothing_is_lost(error):
    generator = LimitedMemory(2, error)
    batch = AdaptiveBatch(generator, limit=8)
    faces = batch([window(k) for k in range(11)])
    assert [f[0, 0, 0, 0] for f in faces] == list(range(11))
    assert generator.calls == [8, 4, 2, 2, 2, 2, 2, 1]
    assert batch.limit == 2 and batch.reductions == [8, 4]


def test_one_window_that_does_not_fit_is_an_error():
    with pytest.raises(OutOfMemoryError):
        AdaptiveBatch(LimitedMemory(0), limit=4)([window(0)])


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_compiled_network_meets_one_number_of_windows(count):
    generator = LimitedMemory(9)
    faces = AdaptiveBatch(generator, limit=4, filled=True)([window(k) for k in range(count)])
    assert set(generator.calls) == {4}
    assert [f[0, 0, 0, 0] for f in faces] == list(range(count))


def test_a_filled_batch_that_does_not_fit_is_halved_down_to_one_window():
    generator = LimitedMemory(1)
    faces = AdaptiveBatch(generator, limit=4, filled=True)([window(0)])
    assert generator.calls == [4, 2, 1] and len(faces) == 1


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shape"):
        AdaptiveBatch(lambda windows: (_ for _ in ()).throw(RuntimeError("shape mismatch")), 2)([window(0)])


def test_windows_of_another_length_go_in_a_batch_of_their_own():
    generator = LimitedMemory(9)
    faces = AdaptiveBatch(generator, limit=8)([window(0), window(1), window(2, frames=2)])
    assert generator.calls == [2, 1] and [len(f) for f in faces] == [4, 4, 2]


def test_groups_keep_their_order_and_batches_fill_across_groups():
    calls = []

    def generate(windows):
        calls.append([w.number for w in windows])
        return [w.faces for w in windows]

    sizes, groups, number = [1, 0, 2, 1, 0, 0, 1], [], 0
    for size in sizes:
        groups.append(FrameGroup((), tuple(window(number + k) for k in range(size)), ()))
        number += size
    done = list(generate_groups(iter(groups), generate, 3, StageClock()))
    assert [len(g.faces) for g in done] == sizes
    assert [f[0, 0, 0, 0] for g in done for f in g.faces] == list(range(number))
    assert calls == [[0, 1, 2], [3, 4]]


def test_stretches_without_faces_do_not_pile_up():
    waiting = 0

    def groups():
        nonlocal waiting
        yield FrameGroup((), (window(0),), ())
        for _ in range(100):
            waiting += 1
            yield FrameGroup((), (), ())

    most = 0
    for _ in generate_groups(groups(), lambda ws: [w.faces for w in ws], 4, StageClock()):
        waiting -= 1
        most = max(most, waiting)
    assert most <= 8


class Meeting:
    """Returns its crops, once as many batches as ``parties`` are in its hands; notes which came in which order."""

    def __init__(self, parties):
        self.barrier, self.ended = threading.Barrier(parties), []

    def __call__(self, windows):
        if not windows:
            return []
        self.barrier.wait(PATIENCE)  # raises if they do not meet
        if windows[0].number == 0:
            while len(self.ended) < 1:  # the first batch is the last to end
                time.sleep(0.001)
        self.ended.append(windows[0].number)
        return [w.faces for w in windows]


def test_batches_overlap_and_come_out_in_order():
    groups = [FrameGroup((), (window(number),), ()) for number in range(4)]
    generate, clock = Meeting(2), StageClock()
    done = list(generate_groups(iter(groups), generate, 1, clock, in_flight=2))
    assert [g.faces[0][0, 0, 0, 0] for g in done] == [0, 1, 2, 3]
    assert generate.ended.index(0) > 0


def test_time_of_overlapping_batches_counts_once():
    clock, both = StageClock(), threading.Barrier(2)
    begin = time.perf_counter()

    def work():
        with clock.measure_once("generate"):
            both.wait(PATIENCE)
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.02 <= clock.seconds()["generate"] <= time.perf_counter() - begin


def test_two_batches_that_do_not_fit_shrink_the_batch_once():
    both, generator = threading.Barrier(2), LimitedMemory(4)

    def together(windows):
        if len(windows) == 8:
            both.wait(PATIENCE)
        return generator(windows)

    together.resolution = SIDE
    batch = AdaptiveBatch(together, limit=8)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(batch, [[window(k) for k in range(8)]] * 2))
    assert batch.limit == 4 and batch.reductions == [8]
    assert all([f[0, 0, 0, 0] for f in faces] == list(range(8)) for faces in found)


# -- over several devices ----------------------------------------------------------------------------------------------


class Device:
    """Gives its own number; waits for the batches that are to meet in all devices at once."""

    resolution = SIDE

    def __init__(self, number, meeting):
        self.number, self.meeting, self.calls = number, meeting, 0

    def __call__(self, windows):
        self.calls += 1
        self.meeting.wait(PATIENCE)
        return np.full((len(windows), 4, 3, SIDE, SIDE), self.number, np.float32)


def test_all_devices_work_at_once_and_take_turns():
    meeting = threading.Barrier(3)
    devices = [Device(number, meeting) for number in range(3)]
    groups = [FrameGroup((), (window(number),), ()) for number in range(6)]
    done = list(generate_groups(iter(groups), AdaptiveBatch(OverDevices(devices, 1), 1), 1, StageClock(), in_flight=3))
    assert [device.calls for device in devices] == [2, 2, 2]
    assert len(done) == 6


def test_a_device_that_fails_is_given_the_next_batch():
    class Failing(Identity):
        def __call__(self, windows):
            if windows[0].number == 0:
                raise RuntimeError("shape mismatch")
            return super().__call__(windows)

    generate = OverDevices([Failing(SIDE)], 1)
    with pytest.raises(RuntimeError):
        generate([window(0)])
    assert len(generate([window(1)])) == 1


# -- side by side ------------------------------------------------------------------------------------------------------


class Numbering:
    """Gives every window its number; notes who computed which windows, on how many threads of torch."""

    resolution = 8

    def __init__(self):
        self.calls = []
        self.failing = None
        self.together = None

    def __call__(self, windows):
        if self.together is not None:
            self.together.wait(timeout=300)  # raises unless all shares are computed at the same time
        numbers = [window.number for window in windows]
        self.calls.append((numbers, threading.current_thread().name, torch.get_num_threads()))
        if self.failing in numbers:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return np.stack([np.full((2, 3, 8, 8), number, np.float32) for number in numbers])


def windows_of(count):
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
        stub = Numbering()
        stub.together = threading.Barrier(len(shares))
        faces = SideBySide(stub)(windows_of(count))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert faces[:, 0, 0, 0, 0].tolist() == list(range(count))
    assert sorted((numbers, used) for numbers, _, used in stub.calls) == shares


def test_a_failure_is_raised_and_the_next_call_works():
    stub = Numbering()
    generate = SideBySide(stub, threads=2)
    stub.failing = 2
    with pytest.raises(RuntimeError, match="allocate memory"):
        generate(windows_of(4))
    assert len(stub.calls) == 2  # the other share was not left running
    stub.failing = None
    assert len(generate(windows_of(4))) == 4

"""Batches shrink instead of failing, and rubbish is refused (USERS A7, A8)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.errors import GenerationError, OutOfMemoryError
from latentsync.inference.batching import AdaptiveBatch, GuardedGenerator, OutputGuard, generate_groups
from latentsync.inference.windows import FrameGroup
from latentsync.types import Window

SIDE = 32
MASK = np.ones((1, SIDE, SIDE), np.float32)
MASK[:, 12:30, 4:28] = 0


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
    done = list(generate_groups(iter(groups), generate, batch=3))
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
    for _ in generate_groups(groups(), lambda ws: [w.faces for w in ws], batch=4):
        waiting -= 1
        most = max(most, waiting)
    assert most <= 8


def face(kind):
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    good = np.stack([0.4 * np.sin(5 * rows) + 0.2 * columns] * 3).astype(np.float32)[None].repeat(4, 0)
    noise = np.random.default_rng(0).standard_normal(good.shape).astype(np.float32)
    return {
        "good": good,
        "nan": np.where(np.arange(SIDE) == 15, np.nan, good),
        "black": np.full_like(good, -1),
        "mask": 0.01 * noise,
        "flat": np.full_like(good, 0.4),
        "noise": noise * 0.5,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "named"), [("nan", "finite"), ("black", "black"), ("mask", "mask"), ("flat", "flat"), ("noise", "noise")]
)
def test_rubbish_is_named(kind, named):
    assert named in OutputGuard(MASK).fault(face(kind))


def test_a_face_passes_also_with_a_little_grain():
    guard = OutputGuard(MASK)
    assert guard.fault(face("good")) is None
    assert guard.fault(face("good") + 0.1 * face("noise")) is None


class Fixed:
    resolution = SIDE

    def __init__(self, kind):
        self.kind, self.calls = kind, 0

    def __call__(self, windows):
        self.calls += 1
        return np.stack([face(self.kind) for _ in windows])


def test_full_precision_is_tried_once_and_kept():
    half, full = Fixed("nan"), Fixed("good")
    retried = []
    guarded = GuardedGenerator(half, OutputGuard(MASK), retry=lambda: full, on_retry=retried.append)
    for number in range(3):
        assert np.isfinite(guarded([window(number)])).all()
    assert half.calls == 1 and full.calls == 3 and retried == [1]


@pytest.mark.parametrize("retry", [None, lambda: Fixed("black")])
def test_rubbish_that_stays_is_an_error_that_names_the_window(retry):
    guarded = GuardedGenerator(Fixed("black"), OutputGuard(MASK), retry)
    with pytest.raises(GenerationError, match="window 7"):
        guarded([window(7)])

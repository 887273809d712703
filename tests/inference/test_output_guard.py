"""Output that is no face is recognised, generated again in full precision, and refused if that does not help."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import GenerationError
from latentsync.inference.output_guard import GuardedGenerator, OutputGuard
from latentsync.types import Window

SIDE = 32
MASK = np.ones((1, SIDE, SIDE), np.float32)
MASK[:, 12:30, 4:28] = 0


def window(number, frames=4):
    return Window(number, np.full((frames, 3, SIDE, SIDE), number, np.float32), np.zeros((frames, 1, 1), np.float32))


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

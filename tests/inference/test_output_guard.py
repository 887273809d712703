"""Output that is no face is recognised, generated again in another precision, and not shown if that does not help."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from latentsync.errors import GenerationError, OutOfMemoryError
from latentsync.inference.output_guard import GuardedGenerator, OutputGuard
from latentsync.inference.record import PrecisionChange, RunRecord
from latentsync.types import Window
from tests.inference.world import DrawnVideo, Identity, sync

SIDE = 32
MASK = np.ones((1, SIDE, SIDE), np.float32)
MASK[:, 12:30, 4:28] = 0


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
    assert named in OutputGuard(MASK).fault(face(kind), face("good"))


def test_a_face_passes_also_with_a_little_grain():
    guard = OutputGuard(MASK)
    assert guard.fault(face("good"), face("good")) is None
    assert guard.fault(face("good") + 0.1 * face("noise"), face("good")) is None


def faded(light):
    return (face("good") + 1) * light - 1


# Sources whose copies are beyond a limit: at night, grainy, faded out to black, to grey and to a color.
HARD = {
    "night": faded(0.1),
    "night with grain": faded(0.15) + 0.06 * face("noise"),
    "grain": face("good") + 1.5 * face("noise"),
    "black": faded(0.0),
    "nearly black": faded(0.02),
    "grey": 0.02 * face("good"),
    "flat": 0.4 + 0.01 * face("good"),
}


@pytest.mark.parametrize("source", HARD.values(), ids=HARD)
def test_a_copy_of_any_source_passes(source):
    assert OutputGuard(MASK).fault(source.astype(np.float32), source) is None


@pytest.mark.parametrize(
    ("kind", "source", "named"),
    [
        ("nan", "night", "finite"),
        ("black", "night", "black"),
        ("noise", "night", "noise"),
        ("mask", "night", "mask"),
        ("flat", "grain", "flat"),
        ("mask", "grain", "mask"),
        ("noise", "black", "noise"),
    ],
)
def test_rubbish_is_rubbish_of_a_hard_source_too(kind, source, named):
    assert named in OutputGuard(MASK).fault(face(kind), HARD[source])


class Fixed:
    resolution = SIDE

    def __init__(self, *kinds):
        """``kinds`` of the windows in order, the last one for all that follow."""
        self.kinds, self.calls, self.windows = kinds, 0, 0

    def __call__(self, windows):
        self.calls += 1
        made = [face(self.kinds[min(self.windows + k, len(self.kinds) - 1)]) for k in range(len(windows))]
        self.windows += len(windows)
        return np.stack(made)


def source(number):
    return Window(number, face("good"), np.zeros((4, 1, 1), np.float32))


def test_another_precision_is_tried_once_and_kept():
    half, full = Fixed("nan"), Fixed("good")
    changes, refused = [], {}
    retries = {"bfloat16": lambda: full, "float32": lambda: pytest.fail("it is not needed")}
    guarded = GuardedGenerator(half, OutputGuard(MASK), refused.__setitem__, retries, changes.append)
    for number in range(3):
        assert np.isfinite(guarded([source(number)])).all()
    assert half.calls == 1 and full.calls == 3 and refused == {}
    assert changes == [PrecisionChange(0, "values that are not finite numbers", "bfloat16", 1)]


def no_room():
    raise OutOfMemoryError("There is no room for it.")


@pytest.mark.parametrize("first", [no_room, lambda: Fixed("nan")])
def test_the_next_precision_is_tried_where_one_does_not_fit_or_does_not_help(first):
    full, changes = Fixed("good"), []
    guarded = GuardedGenerator(
        Fixed("nan"), OutputGuard(MASK), pytest.fail, {"bfloat16": first, "float32": lambda: full}, changes.append
    )
    guarded([source(5), source(6)])
    assert full.windows == 2 and [change.precision for change in changes] == ["bfloat16", "float32"]
    assert [bool(change.hindrance) for change in changes] == [first is no_room, False]
    assert [change.windows for change in changes] == [0 if first is no_room else 2, 2]


@pytest.mark.parametrize("retries", [{}, {"float32": lambda: Fixed("black")}, {"float32": no_room}])
@pytest.mark.parametrize("batch", [1, 3])
def test_rubbish_that_stays_ends_the_run_after_a_few_windows(retries, batch):
    refused = {}
    guarded = GuardedGenerator(Fixed("black"), OutputGuard(MASK), refused.__setitem__, retries)
    with pytest.raises(GenerationError, match="black mouth in 4 windows in a row, the last of them 10"):
        for first in range(7, 99, batch):
            guarded([source(first + k) for k in range(batch)])
    assert refused == dict.fromkeys((7, 8, 9), "a black mouth")


def test_single_windows_are_refused_without_an_end():
    refused = {}
    guarded = GuardedGenerator(Fixed(*["good", "noise", "noise", "flat"] * 3), OutputGuard(MASK), refused.__setitem__)
    for first in range(0, 12, 2):
        guarded([source(first), source(first + 1)])
    assert sorted(refused) == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert refused[1] == "noise" and refused[3] == "a flat color"


class BrokenWindow(Identity):
    """Makes faces of less contrast, but window number 1 is rubbish."""

    def __call__(self, windows):
        faces = super().__call__(windows) * 0.5
        for made, window in zip(faces, windows, strict=True):
            if window.number == 1:
                made[:] = np.nan
        return faces


def test_the_frames_of_a_refused_window_stay_as_they_were():
    video, record = DrawnVideo(48), RunRecord()
    frames = list(sync(video, Fraction(48, 25), BrokenWindow(), record=record, check_output=True))
    changed = [not np.array_equal(frame.pixels, video.draw(frame.index)) for frame in frames]
    assert changed == [True] * 16 + [False] * 14 + [True] * 18  # frames 15 and 30 are in the windows beside it too
    (span,) = record.passed_through
    assert (span.first, span.last, span.reason) == (16, 29, "the network gave values that are not finite numbers")
    assert record.to_dict()["windows_refused"] == {1: "values that are not finite numbers"}


def test_two_batches_with_a_fault_share_one_retry():
    both, half, full = threading.Barrier(2), Fixed("nan"), Fixed("good")

    def faulty(windows):
        both.wait(300)
        return half(windows)

    faulty.resolution = SIDE
    made, changes, refused = [], [], {}

    def retry():
        made.append(full)
        return full

    guarded = GuardedGenerator(faulty, OutputGuard(MASK), refused.__setitem__, {"float32": retry}, changes.append)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(guarded, [[source(0)], [source(1), source(2)]]))
    assert made == [full] and sorted(change.windows for change in changes) == [1, 2] and refused == {}
    assert [len(faces) for faces in found] == [1, 2]
    assert all(np.array_equal(face("good"), each) for faces in found for each in faces)


def test_windows_that_end_in_another_order_are_in_a_row_by_their_numbers():
    refused = {}
    guarded = GuardedGenerator(Fixed("black"), OutputGuard(MASK), refused.__setitem__)
    for number in (4, 2, 7, 5):
        guarded([source(number)])
    with pytest.raises(GenerationError, match="the last of them 5"):
        guarded([source(3)])

"""What sets two windows apart fades from one to the other, and every frame still comes out once and in its place."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.inference.batching import GeneratedGroup
from latentsync.inference.joins import GeneratedFrame, frames_of
from latentsync.inference.record import RunRecord
from latentsync.inference.windows import FaceFrame, PassedFrame, WindowPlan, group_frames
from latentsync.types import AlignedFace, ArrayFrame, FaceObservation

PIXELS = np.zeros((2, 2, 3), np.uint8)
FAULT = "noise"
OBSERVED = FaceObservation(0, 0, np.zeros(4, np.float32), np.zeros((68, 2), np.float32), 1.0)


class NoAudio:
    duration = Fraction(1000)

    def window(self, frame_time):
        return np.zeros((1, 1), np.float32)


def stream(found, shots):
    for k, (ok, shot) in enumerate(zip(found, shots, strict=True)):
        frame = ArrayFrame(k, Fraction(k, 25), PIXELS)
        face = AlignedFace(np.full((3, 1, 1), float(k), np.float32), np.eye(2, 3))
        yield FaceFrame(frame, face, shot, OBSERVED) if ok else PassedFrame(frame, shot, "no face")


def joined(found, plan, make, shots=None, refused=()):
    """What comes out for frames whose faces are ``make(number of the window, (F, 3, 1, 1) faces)``."""
    groups = group_frames(stream(found, shots or [0] * len(found)), NoAudio(), plan)
    generated = (GeneratedGroup(group, tuple(make(w.number, w.faces) for w in group.windows)) for group in groups)
    return list(frames_of(generated, dict.fromkeys(refused, FAULT), plan))


def noted(frames, plan, shows=lambda frame: True):
    """What a record says of the windows of frames (with a face, number of the shot)."""
    record = RunRecord()
    groups = group_frames(stream(*zip(*frames, strict=True)), NoAudio(), plan)
    generated = (GeneratedGroup(group, tuple(w.faces for w in group.windows)) for group in groups)
    list(record.noting(frames_of(record.windows.follow(generated, plan), {}, plan), shows))
    return record.to_dict()["windows"]


def test_the_record_says_where_windows_begin_and_which_go_on():
    """There is no join at a cut, nor beside a group without a face."""
    frames = [(True, 0)] * 40 + [(True, 1)] * 20 + [(False, 2)] * 16 + [(True, 2)] * 20
    found = noted(frames, WindowPlan(16))
    assert found == {"length": 16, "shared": 0, "starts": [0, 16, 32, 40, 56, 76, 92], "joins": [16, 32, 56, 92]}
    found = noted(frames[:60], WindowPlan(16, overlap=4))
    assert found == {"length": 16, "shared": 4, "starts": [0, 12, 24, 40, 52], "joins": [12, 24, 52]}


def test_the_record_counts_from_the_first_frame_that_is_shown():
    found = noted([(True, 0)] * 80, WindowPlan(16, overlap=1), shows=lambda frame: 20 <= frame.index < 50)
    assert (found["starts"], found["joins"]) == ([10, 25], [10, 25])


def its_number(number, faces):
    """Every window has a level of its own."""
    return np.full_like(faces, number)


def levels(frames):
    return np.array([frame.face[0, 0, 0] if isinstance(frame, GeneratedFrame) else np.nan for frame in frames])


def test_a_jump_becomes_equal_steps():
    plan = WindowPlan(16, overlap=1)
    found = levels(joined([True] * 31, plan, its_number))  # frame 15 is in both windows; 5 more on either side
    assert found[:10].tolist() == [0] * 10 and found[21:].tolist() == [1] * 10
    assert np.diff(found[9:22]) == pytest.approx(np.full(12, 1 / 12))


def test_at_twice_the_rate_every_window_is_joined_to_its_own_successor():
    plan = WindowPlan(16, stride=2, overlap=1)
    found = levels(joined([True] * 62, plan, its_number))  # windows 0 and 2 have the even frames, 1 and 3 the odd ones
    ramp = np.clip((np.arange(62) - 19) / 23, 0, 1)
    assert found == pytest.approx(2 * ramp + np.arange(62) % 2, abs=1e-6)


@given(
    found=st.lists(st.booleans(), min_size=1, max_size=80),
    cuts=st.sets(st.integers(1, 79), max_size=3),
    stride=st.integers(1, 2),
    length=st.sampled_from([4, 8, 16]),
    overlap=st.integers(0, 2),
)
def test_windows_that_agree_stay_as_they_are(found, cuts, stride, length, overlap):
    """Also at cuts and beside gaps: every frame once, in order, with its own face."""
    shots = [sum(cut <= k for cut in cuts) for k in range(len(found))]
    frames = joined(found, WindowPlan(length, stride, overlap=overlap), lambda number, faces: faces, shots)
    assert [frame.frame.index for frame in frames] == list(range(len(found)))
    assert [isinstance(frame, GeneratedFrame) for frame in frames] == found
    assert levels(frames) == pytest.approx(np.where(found, np.arange(len(found)), np.nan), abs=1e-4, nan_ok=True)
    assert all(frame.source.strength == 1 for frame in frames if isinstance(frame, GeneratedFrame))


def test_nothing_is_joined_across_a_cut_and_without_an_overlap():
    plan = WindowPlan(16, overlap=1)
    assert levels(joined([True] * 20, plan, its_number, shots=[0] * 10 + [1] * 10)).tolist() == [0] * 10 + [1] * 10
    assert levels(joined([True] * 20, WindowPlan(16), its_number)).tolist() == [0] * 16 + [1] * 4


@pytest.mark.parametrize(("refused", "fading"), [(1, range(10, 16)), (0, range(15, 21))])
def test_the_window_beside_a_refused_one_fades(refused, fading):
    frames = joined([True] * 31, WindowPlan(16, overlap=1), its_number, refused=[refused])
    strengths = np.array([frame.source.strength if isinstance(frame, GeneratedFrame) else 0 for frame in frames])
    steps = np.abs(np.diff(strengths))
    assert strengths.max() == 1 and strengths.min() == 0 and steps.max() == pytest.approx(1 / 7)
    assert np.flatnonzero((strengths > 0) & (strengths < 1)).tolist() == list(fading)
    assert all(frame.reason == f"the network gave {FAULT}" for frame in frames if isinstance(frame, PassedFrame))
    assert np.nanmax(np.abs(levels(frames) - (1 - refused))) == 0  # nothing of what was refused is mixed in


def test_only_a_few_frames_wait_for_the_next_window():
    plan, taken = WindowPlan(16, overlap=1), []

    def groups():
        for group in group_frames(stream([True] * 100, [0] * 100), NoAudio(), plan):
            taken.append(group.frames[-1].frame.index)
            yield GeneratedGroup(group, tuple(w.faces for w in group.windows))

    assert max(taken[-1] - frame.frame.index for frame in frames_of(groups(), {}, plan)) == 20  # 15 after the sixth


def noisy(number, faces):
    """Every frame differs from the one before, and every window has noise of its own that makes it 1.5 times as much
    from one window to the next."""
    own = np.random.default_rng(1000 + number).normal(0, 1.12, (1, 3, 32, 32))
    moving = [np.random.default_rng(int(index)).normal(0, 1, (3, 32, 32)) for index in faces[:, 0, 0, 0]]
    return (np.stack(moving) + own).astype(np.float32)


@pytest.mark.parametrize(("overlap", "least", "most"), [(0, 1.45, 1.55), (1, 0.95, 1.03), (4, 0.95, 1.05)])
def test_noise_of_each_window_makes_no_pulse(overlap, least, most):
    """Change from frame to frame where windows are joined, over that inside them."""
    plan = WindowPlan(16, overlap=overlap)
    faces = np.stack([frame.face for frame in joined([True] * 160, plan, noisy)])
    changes = np.abs(np.diff(faces, axis=0)).mean(axis=(1, 2, 3))
    places = (np.arange(159) + 1 + plan.reach) % plan.step
    at_joins = (places <= plan.overlap + 2 * plan.reach) & (np.arange(159) >= plan.step - plan.reach - 1)
    assert least <= changes[at_joins].mean() / changes[~at_joins].mean() <= most

"""Windows never hold a blank, never span a cut, and give every frame the audio of its own time."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.errors import ConfigError
from latentsync.inference.windows import (
    FaceFrame,
    PassedFrame,
    WindowPlan,
    default_overlap,
    group_frames,
    ramp_at_gaps,
)
from latentsync.types import AlignedFace, ArrayFrame, Compat, FaceObservation

PIXELS = np.zeros((2, 2, 3), np.uint8)
OBSERVED = FaceObservation(0, 0, np.zeros(4, np.float32), np.zeros((68, 2), np.float32), 1.0)


class IndexAudio:
    """The token of a frame is its own time in 25ths of a second."""

    duration = Fraction(1000)

    def window(self, frame_time):
        return np.full((1, 1), float(frame_time * 25), np.float32)


def stream(found, shots=None, indices=None):
    shots = shots or [0] * len(found)
    indices = indices or range(len(found))
    for k, (ok, shot, index) in enumerate(zip(found, shots, indices, strict=True)):
        frame = ArrayFrame(index, Fraction(k, 25), PIXELS)
        face = AlignedFace(np.full((3, 1, 1), float(k), np.float32), np.eye(2, 3))
        yield FaceFrame(frame, face, shot, OBSERVED) if ok else PassedFrame(frame, shot, "no face")


def groups_of(found, plan, **kwargs):
    return list(group_frames(stream(found, **kwargs), IndexAudio(), plan))


@given(
    found=st.lists(st.booleans(), min_size=1, max_size=90),
    stride=st.integers(1, 3),
    length=st.sampled_from([4, 16]),
)
def test_every_frame_with_a_face_has_one_slot_with_its_own_sound(found, stride, length):
    groups = groups_of(found, WindowPlan(length, stride))
    assert [g.frame.index for group in groups for g in group.frames] == list(range(len(found)))
    numbers = [w.number for group in groups for w in group.windows]
    assert numbers == list(range(len(numbers)))
    assert not any(w.face_keys for group in groups for w in group.windows)  # faces without keys are not all the same
    for group in groups:
        assert len(set(group.slots)) == len(group.slots)
        for window in group.windows:
            assert window.faces.shape == (length, 3, 1, 1) and window.audio.shape == (length, 1, 1)
        with_faces = [member for member in group.frames if isinstance(member, FaceFrame)]
        for member, (number, k) in zip(with_faces, group.slots, strict=True):
            assert group.windows[number].faces[k, 0, 0, 0] == member.frame.index
            assert group.windows[number].audio[k, 0, 0] == member.frame.index


@given(
    found=st.lists(st.booleans(), min_size=1, max_size=90),
    cuts=st.sets(st.integers(1, 89), max_size=3),
    stride=st.integers(1, 3),
    overlap=st.integers(0, 4),
)
def test_windows_that_overlap_hold_every_frame_and_blend_none_across_a_cut(found, cuts, stride, overlap):
    shots = [sum(cut <= k for cut in cuts) for k in range(len(found))]
    plan = WindowPlan(8, stride, overlap=overlap)
    groups = groups_of(found, plan, shots=shots)
    once = [member.frame.index for group in groups for member in group.frames[group.before :]]
    assert once == list(range(len(found)))
    for earlier, later in pairwise(groups):
        shared = overlap * stride if earlier.frames[-1].shot == later.frames[-1].shot else 0
        assert earlier.after == later.before == shared
        assert earlier.frames[len(earlier.frames) - shared :] == later.frames[:shared]
    assert groups[0].before == groups[-1].after == 0
    holders = Counter()
    for group in groups:
        assert len({member.shot for member in group.frames}) == 1
        with_faces = [member for member in group.frames if isinstance(member, FaceFrame)]
        for member, slot in zip(with_faces, group.slots, strict=True):
            if slot is not None:
                assert group.windows[slot[0]].audio[slot[1], 0, 0] == member.frame.index
                holders[member.frame.index] += 1
    assert all((holders[k] >= 1) == ok for k, ok in enumerate(found))


def test_a_window_whose_faces_the_one_before_has_is_not_made():
    first, second = groups_of([True] * 8 + [False] * 3, WindowPlan(8, overlap=2))
    assert len(first.windows) == 1 and second.windows == () and second.slots == (None, None)
    first, second = groups_of([True] * 8 + [False] * 3 + [True], WindowPlan(8, overlap=2))
    assert len(second.windows) == 1 and second.slots == ((0, 0), (0, 1), (0, 5))


@given(frames=st.integers(1, 90), length=st.sampled_from([4, 16]), stride=st.integers(1, 3), overlap=st.integers(0, 2))
def test_the_windows_of_a_run_are_counted_beforehand(frames, length, stride, overlap):
    plan = WindowPlan(length, stride, overlap=overlap)
    assert plan.windows_in(frames) == sum(len(group.windows) for group in groups_of([True] * frames, plan))


def test_a_run_may_begin_without_a_cut():
    groups = list(
        group_frames(stream([True] * 9), IndexAudio(), WindowPlan(4, overlap=1), lambda before, after: after.index == 3)
    )
    assert [[member.frame.index for member in group.frames] for group in groups] == [[0, 1, 2], [3, 4, 5, 6], [6, 7, 8]]
    assert [group.before for group in groups] == [0, 0, 1]


@pytest.mark.parametrize("overlap", [-1, 9])
def test_windows_cannot_overlap_by_more_than_half(overlap):
    with pytest.raises(ConfigError, match="cannot overlap"):
        WindowPlan(16, overlap=overlap)


def test_a_release_that_is_reproduced_has_no_overlap():
    assert WindowPlan.for_run(Compat.V1_6, Fraction(25), 16, False).overlap == 0
    assert WindowPlan.for_run(None, Fraction(25), 16, False).overlap == default_overlap(16) > 0
    assert WindowPlan.for_run(None, Fraction(25), 16, False, 0) == WindowPlan()


def test_gaps_inside_a_window_lend_the_nearest_face():
    (group,) = groups_of([True, False, False, True], WindowPlan(4))
    assert group.windows[0].faces[:, 0, 0, 0].tolist() == [0, 0, 3, 3]
    assert group.windows[0].audio[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert group.slots == ((0, 0), (0, 3))


def test_no_face_no_window():
    (group,) = groups_of([False] * 3, WindowPlan(4))
    assert group.windows == () and group.slots == ()


def test_last_window_is_filled_by_repetition_or_left_short():
    filled = groups_of([True] * 6, WindowPlan(4))
    assert filled[1].windows[0].faces[:, 0, 0, 0].tolist() == [4, 5, 5, 5]
    short = groups_of([True] * 6, WindowPlan.for_compat(4))
    assert short[1].windows[0].faces[:, 0, 0, 0].tolist() == [4, 5]


def test_windows_end_at_cuts_and_where_a_loop_starts_again():
    groups = groups_of([True] * 6, WindowPlan(4), shots=[0, 0, 1, 1, 1, 1])
    assert [len(group.frames) for group in groups] == [2, 4]
    groups = groups_of([True] * 6, WindowPlan(4), indices=[0, 1, 2, 0, 1, 2])
    assert [len(group.frames) for group in groups] == [3, 3]
    groups = groups_of([True] * 6, WindowPlan(6), indices=[0, 1, 2, 1, 0, 1])
    assert [len(group.frames) for group in groups] == [6]


@pytest.mark.parametrize(("fps", "stride"), [(16, 1), (25, 1), (30, 1), (37, 1), (38, 2), (50, 2), (60, 2), (75, 3)])
def test_fast_videos_are_dealt_to_several_windows(fps, stride):
    assert WindowPlan.for_rate(Fraction(fps)).stride == stride


def strengths(found, length, **kwargs):
    ramped = ramp_at_gaps(stream(found, **kwargs), length)
    return [round(getattr(frame, "strength", 0) * (length + 1)) for frame in ramped]  # 0: passes through


def test_ramps_beside_gaps_only():
    yes, no = [True], [False]
    assert strengths(yes * 6 + no + yes * 5, 3) == [4, 4, 4, 3, 2, 1, 0, 1, 2, 3, 4, 4]
    assert strengths(yes * 4, 3) == [4] * 4
    assert strengths(yes * 2 + no + yes * 2, 0) == [1, 1, 0, 1, 1]
    assert strengths(no + yes * 2 + no, 3) == [0, 1, 1, 0]


def test_cuts_do_not_ramp():
    assert strengths([True] * 3 + [False] * 2 + [True] * 3, 3, shots=[0] * 3 + [1] * 2 + [2] * 3) == [
        4,
        4,
        4,
        0,
        0,
        4,
        4,
        4,
    ]


@given(
    found=st.lists(st.booleans(), min_size=1, max_size=60), cuts=st.sets(st.integers(1, 59)), stride=st.integers(1, 2)
)
def test_a_steady_reference_is_the_first_face_of_the_shot(found, cuts, stride):
    shots = [sum(cut <= k for cut in cuts) for k in range(len(found))]
    groups = groups_of(found, WindowPlan(4, stride, steady_reference=True), shots=shots)
    for group in groups:
        shot = group.frames[0].shot
        first = next((k for k, ok in enumerate(found) if ok and shots[k] == shot), None)
        assert all(window.references[:, 0, 0, 0].tolist() == [first] for window in group.windows)


def test_otherwise_every_face_is_its_own_reference():
    (group,) = groups_of([True] * 4, WindowPlan(4))
    assert group.windows[0].references is group.windows[0].faces


def test_gaps_with_ramps_of_their_own():
    members = list(stream([True] * 12 + [False] + [True] * 12))
    members[12] = PassedFrame(members[12].frame, 0, "slow")
    quick, slow = (list(ramp_at_gaps(iter(members), 2, longer)) for longer in ({}, {"slow": 5}))
    assert [round(getattr(frame, "strength", 0) * 3) for frame in quick] == [3] * 10 + [2, 1, 0, 1, 2] + [3] * 10
    assert [round(getattr(frame, "strength", 0) * 6) for frame in slow] == (
        [6] * 7 + [5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5] + [6] * 7
    )

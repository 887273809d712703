"""Encoder windows tile the sound; frame positions are the published ones and never drift."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.audio.encoder_windows import CONTEXT_SECONDS, plan_windows, published_frame_count
from latentsync.types import feature_positions
from tests.golden import golden_arrays

PLANS = ("published", "overlapping")
FRAME_RATES = st.one_of(
    st.fractions(min_value=16, max_value=60, max_denominator=1001),
    st.sampled_from([Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]),
)
LENGTHS = st.fractions(min_value=Fraction(1, 5), max_value=125, max_denominator=16000)  # s
MEL_FRAMES = st.integers(min_value=2, max_value=40_000)


@pytest.mark.parametrize("plan", PLANS)
@given(n_mel_frames=MEL_FRAMES)
def test_kept_parts_tile_the_sound(plan, n_mel_frames):
    windows = plan_windows(n_mel_frames, plan)
    assert [0, *(window.stop for window in windows)] == [*(window.start for window in windows), n_mel_frames // 2]
    for window in windows:
        assert window.start < window.stop
        assert 0 <= window.mel_start < window.mel_stop <= min(window.mel_start + 3000, n_mel_frames)
        assert 0 <= window.rows.start < window.rows.stop <= 1500
        assert window.mel_start // 2 + window.rows.start == window.start
        assert window.rows.stop - window.rows.start == window.stop - window.start


@given(n_mel_frames=MEL_FRAMES)
def test_overlapping_windows_have_context_on_both_sides(n_mel_frames):
    windows = plan_windows(n_mel_frames, "overlapping")
    for window in windows:
        before = Fraction(2 * window.start - window.mel_start, 100)  # s
        after = Fraction(window.mel_stop - 2 * window.stop, 100)
        assert before >= CONTEXT_SECONDS or window.mel_start == 0
        assert after >= CONTEXT_SECONDS or window is windows[-1]
    if len(windows) > 1:  # none of them reads more padding than the half position at the end
        assert all(window.mel_stop - window.mel_start >= 2999 for window in windows)


@given(n_mel_frames=st.integers(min_value=2, max_value=3001))
def test_up_to_30_seconds_both_plans_are_one_window(n_mel_frames):
    assert plan_windows(n_mel_frames, "overlapping") == plan_windows(n_mel_frames, "published")
    assert len(plan_windows(n_mel_frames, "published")) == 1


def test_published_windows_are_hard_cuts():
    first, second, third = plan_windows(6500, "published")
    assert (first.mel_start, first.mel_stop, first.start, first.stop) == (0, 3000, 0, 1500)
    assert (second.mel_start, second.mel_stop, second.start, second.stop) == (3000, 6000, 1500, 3000)
    assert (third.mel_start, third.mel_stop, third.start, third.stop) == (6000, 6500, 3000, 3250)


def test_no_position_no_plan():
    with pytest.raises(ValueError, match="less than one"):
        plan_windows(1, "published")


@pytest.mark.parametrize("fps", [25, 30, 50])
def test_frame_positions_and_counts_equal_the_published_ones(fps):
    golden = golden_arrays("whisper/features_demo1")
    n_positions = int(golden["feat_shape"][0])
    expected = golden[f"fps{fps}_indices_all"]
    assert published_frame_count(n_positions, Fraction(fps)) == len(expected) == int(golden[f"fps{fps}_count"][0])
    positions = [feature_positions(Fraction(frame, fps), n_positions) for frame in range(len(expected))]
    assert np.array_equal(positions, expected)


def test_frame_positions_across_a_join_equal_the_published_ones():
    golden = golden_arrays("whisper/features_long")
    expected = golden["fps25_indices_all"]
    n_positions = int(golden["feat_shape"][0])
    assert published_frame_count(n_positions, Fraction(25)) == len(expected)
    assert np.array_equal([feature_positions(Fraction(i, 25), n_positions) for i in range(len(expected))], expected)


@given(n_positions=st.integers(1, 10_000), fps=FRAME_RATES)
def test_published_count_is_that_of_the_published_loop(n_positions, fps):
    frame = 0
    while frame * 50 // fps <= n_positions:
        frame += 1
    assert published_frame_count(n_positions, fps) == frame + 1


@given(duration=LENGTHS, fps=FRAME_RATES)
def test_every_frame_hears_its_own_moment(duration, fps):
    n_frames = round(duration * fps)
    n_positions = int(duration * 16000) // 320
    assert abs(n_frames / fps - duration) <= 1 / (2 * fps)
    for frame in {0, 1, n_frames // 2, n_frames - 1}:
        positions = feature_positions(frame / fps, n_positions)
        assert positions.shape == (10,)
        assert 0 <= positions.min() <= positions.max() < n_positions
        own = min(frame * 50 // fps, n_positions - 1)
        assert own in positions
    assert feature_positions((n_frames - 1) / fps, n_positions)[-1] == n_positions - 1  # the last word is heard


@given(fps=FRAME_RATES)
def test_no_drift_after_an_hour(fps):
    n_positions = 3601 * 50
    frame = int(3600 * fps)
    own = feature_positions(frame / fps, n_positions)[4]  # four positions come before the frame's own
    assert 0 <= frame / fps - Fraction(int(own), 50) < Fraction(1, 50)  # the width of a position, as at the start

"""Frame times, rates and indices from packets."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.media.timeline import constant_rate, counted_timeline, timeline_from_packets, without_jumps

RATES = [
    Fraction(16),
    Fraction(24_000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30_000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60_000, 1001),
    Fraction(60),
]


def columns(packets: list[tuple[int, int, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pts, durations, is_key = zip(*packets, strict=True)
    return np.array(pts), np.array(durations), np.array(is_key)


def packets_at(times: list[Fraction], time_base: Fraction, last: Fraction) -> tuple[np.ndarray, ...]:
    pts = [round(time / time_base) for time in times]
    durations = [b - a for a, b in zip(pts, pts[1:], strict=False)] + [round(last / time_base)]
    return columns([(p, d, i % 5 == 0) for i, (p, d) in enumerate(zip(pts, durations, strict=True))])


@settings(deadline=None)
@given(st.sampled_from(RATES), st.sampled_from([1000, 12_800, 90_000, 1_000_000]), st.integers(2, 3000))
def test_constant_rate_gives_exact_times_whatever_the_container_rounds_to(rate, ticks, n):
    times = [Fraction(7, 3) + i / rate for i in range(n)]
    timeline = timeline_from_packets(*packets_at(times, Fraction(1, ticks), 1 / rate), Fraction(1, ticks), [rate])
    assert timeline.rate == rate == timeline.fps
    assert timeline.time(n - 1) == (n - 1) / rate
    assert timeline.duration == n / rate


def test_dropped_frame_makes_the_rate_variable_and_keeps_the_gap():
    times = [Fraction(i, 25) for i in range(50) if i != 20]
    timeline = timeline_from_packets(
        *packets_at(times, Fraction(1, 25), Fraction(1, 25)), Fraction(1, 25), [Fraction(25)]
    )
    assert timeline.rate is None
    assert timeline.time(20) == Fraction(21, 25)
    assert timeline.duration == 2
    assert timeline.fps == Fraction(49, 2)


def test_false_claim_is_not_believed():
    pts = np.arange(100) * 3003  # 29.97 in 1/90000
    assert constant_rate(pts, Fraction(1, 90_000), [Fraction(30)]) == Fraction(30_000, 1001)


def test_a_thirtieth_is_not_taken_for_2997_over_a_minute():
    pts = np.rint(np.arange(1800) * 1000 / 30).astype(int)
    assert constant_rate(pts, Fraction(1, 1000), [Fraction(30_000, 1001), Fraction(30)]) == 30


def test_order_of_packets_does_not_matter_and_keys_follow_presentation():
    packets = [(0, 512, True), (1536, 512, False), (512, 512, False), (1024, 512, False), (2048, 512, True)]
    timeline = timeline_from_packets(*columns(packets), Fraction(1, 12_800), [Fraction(25)])
    assert list(timeline.pts) == [0, 512, 1024, 1536, 2048]
    assert list(timeline.keys) == [0, 4]
    assert [timeline.key_before(i) for i in range(5)] == [0, 0, 0, 0, 4]


@pytest.mark.parametrize(("pts", "index"), [(-9, 0), (0, 0), (255, 0), (257, 1), (512, 1), (9999, 3)])
def test_index_at_takes_the_nearest_frame(pts, index):
    packets = [(512 * i, 512, i == 0) for i in range(4)]
    assert timeline_from_packets(*columns(packets), Fraction(1, 12_800), []).index_at(pts) == index


def test_single_frame_has_a_duration():
    timeline = timeline_from_packets(*columns([(0, 0, True)]), Fraction(1, 90_000), [])
    assert timeline.duration == Fraction(1, 25)


def test_counted_timeline_starts_only_where_it_may():
    assert counted_timeline(10, Fraction(25)).key_before(9) == 0
    assert counted_timeline(10, Fraction(25), n_keys=10).key_before(9) == 9


@pytest.mark.parametrize("second", [0, 900, 3_240_000_000, 90_000 * 15])
def test_jumps_of_a_broadcast_clock_are_closed(second):
    """Two recordings in a row, the second with another clock: earlier, the same, or hours later."""
    step, n = 3600, 20
    pts = np.concatenate([np.arange(n) * step, second + np.arange(n) * step])
    closed, jumps = without_jumps(pts, pts, Fraction(1, 90_000))
    assert len(jumps) == 1 and float(jumps[0]) == pytest.approx((second - n * step) / 90_000)
    keys = np.arange(2 * n) % 10 == 0
    timeline = timeline_from_packets(closed, np.full(2 * n, step), keys, Fraction(1, 90_000), [Fraction(25)], pts)
    assert (timeline.rate, len(timeline), timeline.duration) == (25, 40, Fraction(8, 5))
    assert timeline.by_time == (second > n * step) and len(timeline.keys) == (4 if timeline.by_time else 1)
    if timeline.by_time:
        assert timeline.index_at(second + 3 * step) == n + 3 and timeline.stamp(n) == second


def test_pauses_and_reordered_frames_are_no_jumps():
    dts = np.array([0, 1, 2, 3, 90_000 * 9, 90_000 * 9 + 1])
    pts = np.array([1, 3, 2, 5, 90_000 * 9 + 3, 90_000 * 9 + 2])
    closed, jumps = without_jumps(pts, dts, Fraction(1, 90_000))
    assert closed is pts and jumps == []

"""Which frame is shown when: exact lengths and orders for every mode and rate."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import VideoError
from latentsync.inference.timeline import LengthMode, expected_frames, frame_count, playing_order
from latentsync.types import ArrayFrame, VideoInfo

PIXELS = np.zeros((2, 2, 3), np.uint8)
RATES = [Fraction(16), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60000, 1001)]


class CountedVideo:
    """A source of ``n`` numbered frames, at a constant rate or at the given times."""

    def __init__(self, n, fps=Fraction(25), times=None):
        self._times = times or [i / fps for i in range(n)]
        length = n / fps if times is None else times[-1] + 1 / fps
        self.info = VideoInfo(Path("counted"), 2, 2, fps, n, length, variable_frame_rate=times is not None)

    def times(self):
        return self._times

    def frames(self, start=0, stop=None, *, reverse=False):
        indices = range(len(self._times))[start:stop]
        for i in reversed(indices) if reverse else indices:
            yield ArrayFrame(i, self._times[i], PIXELS)


def order(n, duration, mode, fps=Fraction(25)):
    return [frame.index for frame in playing_order(CountedVideo(n, fps), Fraction(duration) / fps, LengthMode(mode))]


@pytest.mark.parametrize(
    ("mode", "n_source", "n_sound", "expected"),
    [
        ("pingpong", 4, 10, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        ("pingpong", 2, 5, [0, 1, 0, 1, 0]),
        ("pingpong", 1, 3, [0, 0, 0]),
        ("pingpong", 4, 4, [0, 1, 2, 3]),
        ("pingpong", 4, 5, [0, 1, 2, 3, 2]),
        ("pingpong", 4, 2, [0, 1]),
        ("loop", 3, 7, [0, 1, 2, 0, 1, 2, 0]),
        ("loop", 3, 2, [0, 1]),
        ("freeze", 3, 6, [0, 1, 2, 2, 2, 2]),
        ("freeze", 3, 1, [0]),
        ("cut", 3, 7, [0, 1, 2]),
        ("cut", 7, 3, [0, 1, 2]),
        ("pad-silence", 5, 2, [0, 1, 2, 3, 4]),
        ("pad-silence", 3, 5, [0, 1, 2, 1, 0]),
        ("speed", 4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
        ("speed", 8, 4, [0, 2, 4, 6]),
        ("speed", 5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_modes(mode, n_source, n_sound, expected):
    assert order(n_source, n_sound, mode) == expected
    info = CountedVideo(n_source).info
    assert expected_frames(info, Fraction(n_sound, 25), LengthMode(mode)) == len(expected)


@given(
    fps=st.sampled_from(RATES),
    seconds=st.fractions(Fraction(1, 5), 125, max_denominator=16000),
    n_source=st.integers(1, 4000),
)
@settings(max_examples=150, deadline=None)
def test_length_is_that_of_the_sound_to_half_a_frame(fps, seconds, n_source):
    frames = list(playing_order(CountedVideo(n_source, fps), seconds, LengthMode.PINGPONG))
    assert len(frames) == frame_count(seconds, fps)
    assert abs(len(frames) / fps - seconds) <= 1 / (2 * fps)
    assert all(frame.time == k / fps for k, frame in enumerate(frames))
    steps = {abs(a.index - b.index) for a, b in zip(frames, frames[1:], strict=False)}
    assert steps <= ({0} if n_source == 1 else {1})


def test_no_drift_after_an_hour():
    fps = Fraction(30000, 1001)
    shown = playing_order(CountedVideo(1000, fps), Fraction(3600), LengthMode.PINGPONG)
    last = deque(shown, maxlen=1).pop()
    assert abs(last.time + 1 / fps - 3600) <= 1 / (2 * fps)


def test_variable_rate_keeps_its_own_times_and_mirrors_them():
    times = [Fraction(t, 100) for t in (0, 4, 10, 12)]
    video = CountedVideo(4, Fraction(25), times)
    shown = list(islice(playing_order(video, Fraction(1), LengthMode.PINGPONG), 7))
    assert [frame.time for frame in shown[:4]] == times
    assert [frame.time for frame in shown[4:]] == [Fraction(t, 100) for t in (14, 20, 24)]


def recording_of_changes(interval, n_before, pause, n_after):
    """A recording that stores frames only when the image changes: some, a pause in which nothing does, some more."""
    before = [interval * i for i in range(n_before)]
    times = before + [before[-1] + pause + interval * i for i in range(n_after)]
    video = CountedVideo(len(times), len(times) / (times[-1] + interval), times)
    video.info = replace(video.info, usual_interval=interval)
    return video


@pytest.mark.parametrize("mode", [LengthMode.PINGPONG, LengthMode.LOOP, LengthMode.FREEZE, LengthMode.SPEED])
@pytest.mark.parametrize(("interval", "pause"), [(Fraction(1, 30), 600), (Fraction(1, 10), 7), (Fraction(1, 50), 61)])
def test_a_long_pause_decides_nothing_about_the_end_and_is_filled(mode, interval, pause):
    video = recording_of_changes(interval, 60, Fraction(pause), 20)
    for duration in (Fraction(1), 60 * interval + 3, Fraction(pause)):
        shown = list(playing_order(video, duration, mode))
        assert abs(shown[-1].time + interval - duration) <= interval
        assert max(b.time - a.time for a, b in zip(shown, shown[1:], strict=False)) <= Fraction(1, 5)
        if mode is not LengthMode.SPEED:
            assert [frame.index for frame in shown[:9]] == list(range(9))
        assert abs(len(shown) - expected_frames(video.info, duration, mode)) <= 0.7 * len(shown)


def test_bursts_of_frames_do_not_set_the_pace_of_pauses():
    """A file that has its frames a microsecond apart, and then none for minutes."""
    video = recording_of_changes(Fraction(1, 10**6), 30, Fraction(300), 30)
    shown = list(playing_order(video, Fraction(2), LengthMode.PINGPONG))
    assert len(shown) <= 30 + 2 * 60 and expected_frames(video.info, Fraction(2), LengthMode.PINGPONG) <= 2 * 240


def test_a_pause_at_the_end_of_a_video_that_ends_by_itself():
    video = recording_of_changes(Fraction(1, 30), 30, Fraction(4), 1)
    for mode in (LengthMode.CUT, LengthMode.PAD_SILENCE):
        shown = list(playing_order(video, Fraction(2), mode))
        assert (shown[-1].time < 2) == (mode is LengthMode.CUT)
        assert abs(shown[-1].time - (2 if mode is LengthMode.CUT else video.info.duration)) < Fraction(1, 10)


def test_a_stream_shorter_than_it_says_is_repeated_from_its_real_end():
    video = CountedVideo(3)
    video.info = replace(video.info, n_frames=10)
    assert [f.index for f in playing_order(video, Fraction(6, 25), LengthMode.PINGPONG)] == [0, 1, 2, 1, 0, 1]


@pytest.mark.parametrize("mode", list(LengthMode))
def test_no_frame_at_all_is_an_error(mode):
    with pytest.raises(VideoError):
        list(playing_order(CountedVideo(0), Fraction(1), mode))

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
        self.times = times or [i / fps for i in range(n)]
        self.info = VideoInfo(Path("counted"), 2, 2, fps, n, n / fps, variable_frame_rate=times is not None)

    def frames(self, start=0, stop=None, *, reverse=False):
        indices = range(len(self.times))[start:stop]
        for i in reversed(indices) if reverse else indices:
            yield ArrayFrame(i, self.times[i], PIXELS)


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


def test_a_stream_shorter_than_it_says_is_repeated_from_its_real_end():
    video = CountedVideo(3)
    video.info = replace(video.info, n_frames=10)
    assert [f.index for f in playing_order(video, Fraction(6, 25), LengthMode.PINGPONG)] == [0, 1, 2, 1, 0, 1]


@pytest.mark.parametrize("mode", list(LengthMode))
def test_no_frame_at_all_is_an_error(mode):
    with pytest.raises(VideoError):
        list(playing_order(CountedVideo(0), Fraction(1), mode))

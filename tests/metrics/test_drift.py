"""Lag and drift of audio and frames whose shift is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import DataError
from latentsync.metrics.drift import FRAME_REACH, audio_lag, video_lag

RATE = 2000


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


@given(st.integers(-900, 900), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_shifted_audio_is_found_to_the_sample(shift: int, seed: int) -> None:
    audio = noise(14_000, seed)
    reference, late = audio[1000:13_000], audio[1000 - shift : 13_000 - shift]
    assert audio_lag(late, reference, RATE) == (shift / RATE, 0)


def test_slower_audio_drifts() -> None:
    fine = np.repeat(noise(600), 20)  # slow enough to be stretched
    slow = np.interp(np.arange(12_000) / 1.01, np.arange(12_000), fine)
    lag = audio_lag(slow, fine, RATE)
    assert lag.drift == pytest.approx(12_000 * 2 / 3 * 0.01 / RATE, rel=0.1)


def test_other_silent_and_short_audio_is_refused() -> None:
    with pytest.raises(DataError, match="not the one"):
        audio_lag(noise(9000, 1), noise(9000, 2), RATE)
    with pytest.raises(DataError, match="silent"):
        audio_lag(np.zeros(9000), noise(9000), RATE)
    with pytest.raises(DataError, match="shorter"):
        audio_lag(noise(3000), noise(3000), RATE)


@given(st.integers(-FRAME_REACH, FRAME_REACH))
@settings(max_examples=25, deadline=None)
def test_shifted_frames_are_found_to_the_frame(shift: int) -> None:
    walk = np.cumsum(np.random.default_rng(1).normal(size=(160, 64)), axis=0) * 5
    reference, late = walk[20:140], walk[20 - shift : 140 - shift]
    assert video_lag(late, reference) == (shift, 0)


def test_frames_that_do_not_move_tell_nothing() -> None:
    with pytest.raises(DataError, match="Nothing moves"):
        video_lag(np.full((100, 8), 7.0), np.full((100, 8), 7.0))
    with pytest.raises(DataError, match="less than"):
        video_lag(np.zeros((60, 8)), np.zeros((60, 8)))

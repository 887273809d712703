"""Cepstral coefficients: recorded numbers, and what a change of the sound does to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.audio import mfcc as module
from latentsync.audio.mfcc import MFCC_HOP, mfcc
from latentsync.errors import AudioError
from tests.golden import golden_arrays, relative_error, shared_file

NOISE = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1


@pytest.mark.shared
def test_the_demo_as_published() -> None:
    from latentsync.media.audio import read_audio

    golden = golden_arrays("evaluation/syncnet_v2")
    actual = mfcc(read_audio(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav")))
    assert list(actual.shape) == golden["mfcc_shape"].tolist()
    assert relative_error(actual[:, golden["mfcc_cols_idx"]], golden["mfcc_cols"]) < 1e-12
    assert relative_error(actual.mean(axis=1), golden["mfcc_rowmean"]) < 1e-12


@given(st.integers(1, 5000))
@settings(max_examples=30, deadline=None)
def test_number_of_frames(n: int) -> None:
    frames = mfcc(NOISE[:n]).shape[1]
    assert frames == (1 if n <= 400 else 1 + int(np.ceil((n - 400) / 160)))


@given(st.floats(0.01, 5))
@settings(max_examples=20, deadline=None)
def test_gain_is_only_in_the_energy(gain: float) -> None:
    quiet, loud = mfcc(NOISE.astype(np.float64)), mfcc(NOISE.astype(np.float64) * gain)
    np.testing.assert_allclose(loud[1:], quiet[1:], atol=1e-8)
    np.testing.assert_allclose(loud[0], quiet[0] + 2 * np.log(gain), atol=1e-8)


def test_a_shift_by_whole_frames_shifts_the_columns() -> None:
    whole, cut = mfcc(NOISE), mfcc(NOISE[10 * MFCC_HOP :])
    np.testing.assert_allclose(cut[:, 1:], whole[:, 11:], atol=1e-8)  # the first frame has no sample before it


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mfcc(NOISE)
    monkeypatch.setattr(module, "_BLOCK_FRAMES", 7)
    np.testing.assert_allclose(mfcc(NOISE), whole, atol=1e-10)


def test_silence_is_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(1000, np.float32))).all()


def test_no_sound() -> None:
    with pytest.raises(AudioError, match="no samples"):
        mfcc(np.zeros(0, np.float32))
    with pytest.raises(AudioError, match="not finite"):
        mfcc(np.full(10, np.nan, np.float32))

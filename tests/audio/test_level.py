"""One level for all speech."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.audio.level import STANDARD, at_standard_level
from latentsync.audio.mel import whisper_log_mel


def speech(seconds=2.0):
    rng = np.random.default_rng(2)
    waveform = rng.standard_normal(round(seconds * 16_000)).astype(np.float32) * 0.05
    waveform[: len(waveform) // 2] *= 0.02  # a pause
    return waveform


@pytest.mark.parametrize("gain", [0.1, 0.25, 0.7, 3.0])
def test_any_level_gives_the_same_spectrogram(gain):
    standard = at_standard_level(speech())
    np.testing.assert_allclose(at_standard_level(speech() * np.float32(gain)), standard, rtol=1e-5)
    assert (
        np.abs(whisper_log_mel(at_standard_level(speech() * np.float32(gain))) - whisper_log_mel(standard)).max() < 1e-4
    )
    assert np.sqrt((standard[len(standard) // 2 :] ** 2).mean()) == pytest.approx(STANDARD, rel=0.15)


def test_a_click_does_not_decide():
    clicking = speech(4.0)
    clicking[50_000:50_100] = 1.0
    ratio = at_standard_level(clicking)[-1000:] / at_standard_level(speech(4.0))[-1000:]
    np.testing.assert_allclose(ratio, 1, rtol=0.02)


def test_silence_and_noise_far_below_speech_stay_quiet():
    assert not at_standard_level(np.zeros(16_000, np.float32)).any()
    assert np.abs(at_standard_level(speech() * np.float32(1e-5))).max() < 0.01
    short = np.full(100, 0.1, np.float32)
    assert at_standard_level(short) is short

"""What the talkers say: phones in time, mouths that close, voices that differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.identity import Voice, make_identity
from latentsync.data.talkers.phones import PHONES
from latentsync.data.talkers.speech import CONTROL_RATE, Utterance, compose, mouth_at, tracks
from latentsync.data.talkers.voice import synthesise

PLAIN = Voice(pitch=120, tract=1.0, breath=0.1, rate=1.0, articulation=1.0)


def say(*names: str, length: float = 0.2) -> Utterance:
    ends = np.cumsum([0.3, *[length] * len(names), 0.3])
    return Utterance(("sil", *names, "sil"), np.array([0, *ends[:-1]]), ends, np.ones(len(ends)))


def spectrum_of(name: str) -> np.ndarray:
    """Level in dB of 20 bands up to 8 kHz in the middle of a long phone between vowels."""
    utterance = say("@", name, "@", length=0.4)
    audio = synthesise(tracks(utterance, 1, PLAIN, 1.8), PLAIN, 1, int(1.8 * AUDIO_RATE))
    middle = audio[int(0.8 * AUDIO_RATE) : int(1.0 * AUDIO_RATE)]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    return 10 * np.log10(np.array([band.mean() for band in np.array_split(power, 20)]) + 1e-6)


@given(seed=st.integers(0, 10_000), seconds=st.floats(1.0, 8.0))
@settings(max_examples=30, deadline=None)
def test_an_utterance_fills_its_time_without_gaps(seed, seconds):
    voice = make_identity(seed).voice
    utterance = compose(seed, voice, seconds)
    assert utterance.starts[0] == 0
    assert np.allclose(utterance.starts[1:], utterance.ends[:-1])
    assert (utterance.ends > utterance.starts).all()
    assert utterance.ends[-1] <= seconds
    assert utterance.phones[0] == "sil" and utterance.phones[-1] == "sil"
    assert set(utterance.phones) <= set(PHONES)


@pytest.mark.parametrize("closed", ["m", "p", "b"])
def test_lips_meet_for_lip_sounds(closed):
    mouth = tracks(say("a", closed, "a", length=0.13), 1, PLAIN, 1.0).mouth
    middle = int((0.3 + 0.13 * 1.5) * CONTROL_RATE)
    assert mouth.opening[middle] == 0
    assert mouth.press[middle] > 0.2
    assert mouth.opening.max() > 0.7


def test_neighbours_color_each_other():
    """The same consonant is rounder before a rounded vowel."""
    before_u, before_i = (tracks(say("t", vowel), 1, PLAIN, 1.0).mouth for vowel in ("u", "i"))
    middle = int(0.40 * CONTROL_RATE)
    assert before_u.rounding[middle] > before_i.rounding[middle] + 0.1
    assert before_i.spread[middle] > before_u.spread[middle] + 0.1


def test_the_mouth_moves_smoothly():
    voice = make_identity(5).voice
    opening = tracks(compose(5, voice, 10), 5, voice, 10).mouth.opening
    assert np.abs(np.diff(opening)).max() * CONTROL_RATE < 25  # of the full range per second
    assert opening.min() == 0 and opening.max() <= 1


def test_mouth_at_reads_the_track_between_its_values():
    mouth = tracks(say("a"), 1, PLAIN, 0.8).mouth
    at = mouth_at(mouth, np.array([0.4, 0.4025]))
    assert at.opening[0] == pytest.approx(mouth.opening[80])
    assert at.opening[1] == pytest.approx((mouth.opening[80] + mouth.opening[81]) / 2)


def test_sounds_of_different_mouths_differ():
    names = ["a", "i", "u", "e", "O", "m", "s", "S", "f", "n"]
    spectra = {name: spectrum_of(name) for name in names}
    for first in names:
        for second in names:
            if first < second:
                apart = np.sqrt(np.mean((spectra[first] - spectra[second]) ** 2))
                assert apart > 2.5, f"{first} and {second} are {apart:.1f} dB apart"


def test_formants_are_where_the_table_says():
    audio = synthesise(tracks(say("a", length=0.6), 1, PLAIN, 1.2), PLAIN, 1, int(1.2 * AUDIO_RATE))
    middle = audio[int(0.5 * AUDIO_RATE) : int(0.8 * AUDIO_RATE)]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 14)) ** 2
    frequency = np.fft.rfftfreq(1 << 14, 1 / AUDIO_RATE)
    around_first = power[(frequency > 560) & (frequency < 960)].mean()
    assert around_first > 20 * power[(frequency > 1700) & (frequency < 2100)].mean()


@pytest.mark.parametrize("seed", range(4))
def test_pitch_is_the_speakers(seed):
    voice = make_identity(seed).voice
    audio = synthesise(tracks(say("a", length=0.6), 1, voice, 1.2), voice, 1, int(1.2 * AUDIO_RATE))
    middle = audio[int(0.45 * AUDIO_RATE) : int(0.75 * AUDIO_RATE)]
    auto = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(AUDIO_RATE // 350, AUDIO_RATE // 70)
    period = lags[np.argmax(auto[lags])]
    pitch = AUDIO_RATE / period
    assert min(abs(pitch * k / voice.pitch - 1) for k in (1, 2)) < 0.3  # 2: every second period may match better


def test_samples_are_fit_for_a_file():
    voice = make_identity(9).voice
    audio = synthesise(tracks(compose(9, voice, 6), 9, voice, 6), voice, 9, 6 * AUDIO_RATE)
    assert audio.dtype == np.float32 and audio.shape == (6 * AUDIO_RATE,)
    assert np.abs(audio).max() <= 1
    assert 0.02 < np.sqrt(np.mean(audio**2)) < 0.2

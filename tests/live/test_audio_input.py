"""Audio in pieces is the audio as a whole: through the resampler, in what waits, and in the features."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import AudioError
from latentsync.features.live_features import LEVEL_SECONDS, LOOK_AHEAD, LiveFeatures, WholeAudio
from latentsync.live.audio_input import AudioInput, Resampler, StreamClosedError, mono

RATE = 16_000
LENGTHS = st.lists(st.integers(0, 3000), max_size=40)


def voice(n, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(0, 0.1, n) * (np.sin(np.arange(n) / 2500) > 0)).astype(np.float32)


def pieces(audio, lengths):
    start = 0
    for length in lengths:
        yield audio[start : start + length]
        start += length
    yield audio[start:]


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@settings(max_examples=4)
@given(lengths=LENGTHS)
def test_the_resampler_does_not_see_the_pieces(rate, lengths):
    audio = voice(9000)
    whole, parts = Resampler(rate), Resampler(rate)
    expected = np.concatenate([whole.convert(audio), whole.rest()])
    found = np.concatenate([*(parts.convert(piece) for piece in pieces(audio, lengths)), parts.rest()])
    assert np.array_equal(found, expected)
    assert len(expected) == pytest.approx(9000 * RATE / rate, abs=2)


def states_of(waveform):
    """(n // 320, 1, 2): level and sum of every position, and of all of it, so that nothing may differ anywhere."""
    frames = waveform[: len(waveform) // 320 * 320].reshape(-1, 320)
    return np.stack([frames.std(axis=1), np.full(len(frames), waveform.sum())], axis=1)[:, None].astype(np.float32)


def windows(features, n_frames, length=4):
    """What the frames of windows that share one frame attend to, asked for as the pipeline does."""
    found = []
    for start in range(0, n_frames, length - 1):
        frames = range(start, min(start + length, n_frames))
        found += [features.window(Fraction(k, 25)) for k in reversed(frames)]
    return np.array(found)


@settings(max_examples=8)
@given(lengths=LENGTHS, n=st.integers(400, 30_000))
def test_features_do_not_see_the_pieces(lengths, n):
    audio = voice(n)
    n_frames = max(1, n // 640)
    expected = windows(LiveFeatures(WholeAudio(audio), states_of), n_frames)
    source = AudioInput()
    found = []
    reader = threading.Thread(target=lambda: found.append(windows(LiveFeatures(source, states_of), n_frames)))
    reader.start()
    for piece in pieces(audio, lengths):
        source.append(piece)
    source.end()
    reader.join()
    assert np.array_equal(found[0], expected)


def test_features_wait_for_no_more_than_the_look_ahead():
    source = AudioInput()
    source.append(voice(int((Fraction(7, 25) + LOOK_AHEAD) * RATE)))
    features = LiveFeatures(source, states_of)
    for k in reversed(range(8)):
        assert features.window(Fraction(k, 25)).shape == (10, 2)  # waits for nothing, or this test does not end


def test_memory_does_not_grow():
    source, piece = AudioInput(), voice(RATE)
    for second in range(3 * LEVEL_SECONDS):
        source.append(piece)
        stop = source.until((second + 1) * RATE)
        heard = source.read(max(0, stop - LEVEL_SECONDS * RATE), stop)
        assert len(heard) == min(stop, LEVEL_SECONDS * RATE)
    assert sum(map(len, source._pieces)) <= (LEVEL_SECONDS + 1) * RATE


def test_what_is_read_is_there_though_somebody_has_asked_for_what_is_later():
    source = AudioInput()
    for _ in range(LEVEL_SECONDS + 8):
        source.append(np.zeros(RATE, np.float32))
    for second in (LEVEL_SECONDS + 1, LEVEL_SECONDS + 2):
        stop = source.until(second * RATE)
        assert source.lasts(Fraction(second + 5))
        assert len(source.read(stop - LEVEL_SECONDS * RATE, stop)) == LEVEL_SECONDS * RATE


def test_whoever_waits_is_woken_by_the_end_and_by_closing():
    for wake, outcome in ((AudioInput.end, 5), (AudioInput.close, StreamClosedError)):
        source, found = AudioInput(), []
        source.append(np.zeros(5, np.float32))

        def wait(source=source, found=found):
            try:
                found.append(source.until(100))
            except StreamClosedError as error:
                found.append(type(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        wake(source)
        waiting.join()
        assert found == [outcome]
        with pytest.raises(StreamClosedError):
            source.append(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (np.array([16384, -32768], np.int16), [0.5, -1]),
        (np.array([[0.5, 0.1], [0.2, 0.4]], np.float32), [0.3, 0.3]),
        (np.array([0.25], np.float32), [0.25]),
    ],
)
def test_what_is_audio(given_, expected):
    assert mono(given_) == pytest.approx(np.array(expected, np.float32)) and mono(given_).dtype == np.float32


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((1, 2, 3), np.float32), np.array([np.nan], np.float32)])
def test_what_is_no_audio(wrong):
    with pytest.raises(AudioError):
        mono(wrong)
    with pytest.raises(AudioError, match="samples a second"):
        Resampler(100)

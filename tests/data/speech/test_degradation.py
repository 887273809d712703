"""Other throats, other paces, rooms and lines."""

from __future__ import annotations

import numpy as np

from latentsync.audio.mel import whisper_log_mel
from latentsync.data.speech.degradation import PACE, change_pace, change_throat, degrade, mask
from latentsync.data.speech.recordings import PHONE_NAMES, SAMPLES_PER_POSITION
from tests.data.speech.examples import tone


def strongest(waveform: np.ndarray) -> float:
    """Hz."""
    return float(np.abs(np.fft.rfft(waveform)).argmax() * 16000 / len(waveform))


def test_another_pace_changes_length_and_pitch_and_keeps_labels_in_place():
    sentence = tone("one", "a voice").spoken()
    lengths = []
    for seed in range(6):
        other = change_pace(sentence, np.random.default_rng(seed))
        assert len(other.mouth) == len(other.phones)
        assert len(other.waveform) == len(other.phones) * SAMPLES_PER_POSITION
        factor = len(other.phones) / len(sentence.phones)
        assert PACE[0] - 0.03 <= factor <= PACE[1]
        assert abs(strongest(other.waveform) * factor - 300) < 8
        begins = int(np.argmax(other.phones == PHONE_NAMES.index("i"))) * SAMPLES_PER_POSITION
        loud = np.abs(other.waveform) > 0.05
        assert abs(int(np.argmax(loud)) - begins) <= 2 * SAMPLES_PER_POSITION
        lengths.append(factor)
    assert min(lengths) < 1 < max(lengths)


def test_another_throat_moves_frequencies_and_nothing_else():
    clock = np.arange(16000) / 16000
    log_mel = whisper_log_mel(0.3 * np.sin(2 * np.pi * 1500 * clock).astype(np.float32))
    before = log_mel.mean(axis=1).argmax()
    moved = [change_throat(log_mel, np.random.default_rng(seed)) for seed in range(8)]
    peaks = [each.mean(axis=1).argmax() for each in moved]
    assert min(peaks) < before < max(peaks)
    assert all(each.shape == log_mel.shape and each.dtype == log_mel.dtype for each in moved)
    assert all(each.min() >= log_mel.min() - 1e-6 and each.max() <= log_mel.max() + 1e-6 for each in moved)


def test_masks_blot_out_little_and_leave_the_rest():
    log_mel = np.random.default_rng(0).random((80, 1200)).astype(np.float32)
    shares = []
    for seed in range(8):
        masked = mask(log_mel, np.random.default_rng(seed))
        changed = masked != log_mel
        assert (masked[changed] == log_mel.mean()).all()
        shares.append(changed.mean())
    assert 0.01 < np.mean(shares) < 0.2


def test_degraded_speech_is_as_long_audible_and_the_same_for_equal_generators():
    waveform = tone("one", "a voice", 0.6).spoken().waveform
    kinds = set()
    for seed in range(24):
        heard = degrade(waveform, np.random.default_rng(seed))
        assert heard.shape == waveform.shape and heard.dtype == np.float32
        assert np.isfinite(heard).all() and 0.01 < np.abs(heard).max() <= 1
        again = degrade(waveform, np.random.default_rng(seed))
        np.testing.assert_array_equal(heard, again)
        kinds.add(bool(np.abs(heard[:3000]).max() > 1e-3 * np.abs(heard).max()))  # is there noise before the tone?
    assert kinds == {True, False}


def test_silence_can_be_degraded():
    for seed in range(8):
        assert np.isfinite(degrade(np.zeros(8000, np.float32), np.random.default_rng(seed))).all()

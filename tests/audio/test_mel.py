"""Both mel spectrograms against the recorded ones, and their edges."""

from __future__ import annotations

import tracemalloc
import wave
from fractions import Fraction

import numpy as np
import pytest

from latentsync.audio import mel as mel_module
from latentsync.audio.mel import mel_window, slaney_filter_bank, syncnet_mel, whisper_log_mel
from latentsync.errors import AudioError
from tests.golden import golden_arrays, golden_json, shared_file


def _demo1() -> np.ndarray:
    with wave.open(str(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def _noise(n_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(n_samples)).astype(np.float32)


@pytest.mark.shared
def test_syncnet_mel_equals_the_published_one():
    golden = golden_arrays("mel/demo1")
    mel = syncnet_mel(_demo1())
    assert mel.dtype == np.float32
    assert mel.shape == tuple(golden["mel_shape"])
    assert np.abs(mel[:, golden["mel_cols_idx"]] - golden["mel_cols"]).max() < 1e-5
    assert np.abs(mel.mean(axis=0) - golden["mel_colmean"]).max() < 1e-5


@pytest.mark.shared
def test_mel_windows_equal_the_published_ones():
    golden = golden_arrays("mel/demo1")
    mel = syncnet_mel(_demo1())
    for n_frames in (5, 16, 25):
        for frame in (0, 10, 120):
            expected = golden[f"window{n_frames}_frame{frame}"][0]
            window = mel_window(mel, frame, n_frames)
            assert window.shape == expected.shape
            assert np.abs(window - expected).max() < 1e-5


def test_mel_windows_start_where_the_published_ones_do():
    ramp = np.arange(1000)[None]  # every mel frame holds its own number
    starts = golden_json("mel/demo1")["starts_all_frames"]
    assert [int(mel_window(ramp, frame, 5)[0, 0]) for frame in range(len(starts))] == starts


def test_mel_window_of_an_ntsc_rate_is_exact():
    ramp = np.arange(300_000)[None]
    fps = Fraction(30000, 1001)
    frame = 60 * 60 * 30  # 108 000 frames = 3603.6 s = 288 288 mel frames
    assert mel_window(ramp, frame, 15, fps)[0, 0] == 288_288
    assert mel_window(ramp, frame, 15, fps).shape[1] == 41  # 15 x 80 x 1001 / 30000 = 40.04


@pytest.mark.parametrize("frame", [-1, 30])
def test_mel_window_outside_the_sound_is_refused(frame):
    with pytest.raises(ValueError, match="not inside"):
        mel_window(np.zeros((80, 52 + 95)), frame)


def test_last_mel_window_that_fits():
    assert mel_window(np.zeros((80, 52 + 96)), 30).shape == (80, 52)


@pytest.mark.shared
def test_whisper_log_mel_equals_the_published_one():
    for name, repeats in (("demo1", 1), ("long", 4)):
        golden = golden_arrays(f"whisper/features_{name}")
        log_mel = whisper_log_mel(np.tile(_demo1(), repeats))
        assert log_mel.shape == tuple(golden["logmel_shape"])
        assert np.abs(log_mel[:, golden["logmel_cols_idx"]] - golden["logmel_cols"]).max() < 1e-5
        assert np.abs(log_mel.mean(axis=0) - golden["logmel_colmean"]).max() < 1e-5


def test_whisper_log_mel_equals_openai_whispers():
    whisper_audio = pytest.importorskip("whisper.audio")
    samples = _noise(16000 * 3 + 77)
    samples[: 16000 * 2] *= 1e-6  # quiet enough for the floor to bite
    expected = whisper_audio.log_mel_spectrogram(samples).numpy()
    log_mel = whisper_log_mel(samples)
    assert log_mel.dtype == np.float32
    assert np.abs(log_mel - expected).max() < 1e-6


def test_whisper_filters_equal_the_file_that_openai_ships():
    whisper_audio = pytest.importorskip("whisper.audio")
    shipped = whisper_audio.mel_filters("cpu", 80).numpy()
    assert np.abs(slaney_filter_bank(400, 80, 0.0, 8000.0) - shipped).max() < 1e-8


def test_blocks_leave_no_trace(monkeypatch):
    samples = _noise(16000)
    whole = whisper_log_mel(samples), syncnet_mel(samples)
    monkeypatch.setattr(mel_module, "_BLOCK_FRAMES", 7)
    assert np.abs(whisper_log_mel(samples) - whole[0]).max() < 1e-6
    assert np.abs(syncnet_mel(samples) - whole[1]).max() < 1e-6


def test_work_space_does_not_grow_with_the_sound():
    samples = _noise(16000 * 120)
    tracemalloc.start()  # sees NumPy's arrays; torch's are those of one block
    log_mel = whisper_log_mel(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * log_mel.nbytes  # the padded waveform alone is twice the result


@pytest.mark.parametrize("length", [0, 1, 319])
def test_less_than_one_encoder_position_is_refused(length):
    with pytest.raises(AudioError):
        whisper_log_mel(np.zeros(length, np.float32))


def test_shortest_sounds():
    assert whisper_log_mel(_noise(320)).shape == (80, 2)
    assert syncnet_mel(_noise(1)).shape == (80, 1)
    with pytest.raises(AudioError):
        syncnet_mel(np.zeros(0, np.float32))


def test_silence_is_finite():
    assert np.isfinite(whisper_log_mel(np.zeros(16000, np.float32))).all()
    assert (syncnet_mel(np.zeros(16000, np.float32)) == -4).all()


@pytest.mark.parametrize("transform", [syncnet_mel, whisper_log_mel])
def test_wrong_samples_are_refused(transform):
    broken = _noise(16000)
    broken[5] = np.nan
    with pytest.raises(AudioError, match="finite"):
        transform(broken)
    with pytest.raises(ValueError, match="floats"):
        transform(np.zeros(16000, np.int16))
    with pytest.raises(ValueError, match="vector"):
        transform(np.zeros((2, 16000), np.float32))

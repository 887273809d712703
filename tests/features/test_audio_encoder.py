"""Windows, cache and file reading of the audio encoder; its numbers against the recorded ones."""

from __future__ import annotations

import wave
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.model import ModelDimensions

import latentsync.features
from latentsync.audio.mel import whisper_log_mel
from latentsync.errors import AudioError, WeightsMismatchError, WeightsMissingError
from latentsync.features.audio_encoder import WINDOWS_KEPT, AudioEncoder
from latentsync.models.whisper import WhisperTaps
from tests.golden import golden_arrays, relative_error, rule_tensor, shared_file

PLANS = ("published", "overlapping")
TINY = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=384,
    n_audio_head=6,
    n_audio_layer=4,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=384,
    n_text_head=6,
    n_text_layer=4,
)
SMALL = replace(TINY, n_audio_state=32, n_audio_head=2, n_audio_layer=1)  # quick to write and read


class LocalTaps(torch.nn.Module):
    """Two taps, three numbers wide: means of the mel bands over ``reach`` positions on both sides of each position."""

    def __init__(self, reach: int = 0) -> None:
        super().__init__()
        self.reach = reach
        self.calls = 0

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        assert mel.shape == (1, 80, 3000)
        size = 2 * self.reach + 1
        bands = torch.nn.functional.avg_pool1d(mel[:, :6], 2)  # one column per position
        bands = torch.nn.functional.avg_pool1d(bands, size, stride=1, padding=self.reach)
        return bands.transpose(1, 2).reshape(1, 1500, 2, 3)


def _speech_like(seconds: float) -> np.ndarray:
    """Noise whose loudness changes all the time, so that no two moments have the same features."""
    random = np.random.default_rng(0)
    n_samples = round(seconds * 16000)
    knots = np.arange(0, n_samples + 800, 800)
    loudness = np.interp(np.arange(n_samples), knots, random.random(len(knots)))
    return (0.3 * loudness * random.standard_normal(n_samples)).astype(np.float32)


def _demo1() -> np.ndarray:
    with wave.open(str(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def _rule_state(dims: ModelDimensions) -> dict[str, torch.Tensor]:
    """The tensors of an encoder of that size with weights by the rule, under the names that a Whisper file has."""
    state = WhisperTaps(dims).state_dict()
    return {
        name: tensor if name.endswith("positional_embedding") else rule_tensor(name, tuple(tensor.shape))
        for name, tensor in state.items()
    }


def _whisper_file(path: Path, dims: ModelDimensions = TINY, **changes: torch.Tensor) -> Path:
    """A file in OpenAI's format; the decoder is a single tensor, which nobody reads."""
    state = {**_rule_state(dims), "decoder.ln.weight": torch.ones(dims.n_text_state), **changes}
    torch.save({"dims": asdict(dims), "model_state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def rule_encoder(tmp_path_factory) -> AudioEncoder:
    return AudioEncoder.from_file(_whisper_file(tmp_path_factory.mktemp("whisper") / "rule.pt"))


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seconds", [0.02, 1.01, 30.01, 64.43])
def test_positions_of_a_local_encoder_are_those_of_the_whole_spectrogram(plan, seconds):
    waveform = _speech_like(seconds)
    log_mel = whisper_log_mel(waveform)[:6]
    n_positions = log_mel.shape[1] // 2
    expected = log_mel[:, : 2 * n_positions].reshape(6, n_positions, 2).mean(axis=2).T.reshape(-1, 2, 3)
    features = AudioEncoder(LocalTaps()).encode(waveform, plan)
    assert features.states.dtype == np.float32
    assert features.states.shape == expected.shape
    assert np.abs(features.states - expected).max() < 1e-6
    assert features.duration == Fraction(len(waveform), 16000)


def test_overlapping_windows_hide_the_joins_of_an_encoder_that_reaches_five_seconds():
    waveform = _speech_like(95)
    log_mel = whisper_log_mel(waveform)[:6]
    bands = torch.nn.functional.avg_pool1d(torch.from_numpy(log_mel)[None], 2)
    whole = torch.nn.functional.avg_pool1d(bands, 501, stride=1, padding=250)[0].T.reshape(-1, 2, 3).numpy()
    encoder = AudioEncoder(LocalTaps(reach=250))
    overlapping = encoder.encode(waveform, "overlapping").states
    published = encoder.encode(waveform, "published").states
    assert np.abs(overlapping - whole).max() < 1e-5
    for join in (1500, 3000, 4500):
        assert np.abs(published[join] - whole[join]).max() > 0.1


@pytest.mark.parametrize("plan", PLANS)
def test_streaming_gives_the_same_windows_in_any_order(plan):
    waveform = _speech_like(100)
    encoder = AudioEncoder(LocalTaps())
    whole, streamed = encoder.encode(waveform, plan), encoder.stream(waveform, plan)
    assert streamed.duration == whole.duration
    times = [Fraction(i, 1) for i in range(0, 100, 7)]
    random = np.random.default_rng(1).permutation(100)
    for time in [*times, *reversed(times), *(Fraction(int(t)) for t in random), Fraction(-1), Fraction(500)]:
        window = streamed.window(time)
        assert window.dtype == np.float32
        assert np.array_equal(window, whole.window(time))


def test_streaming_encodes_when_asked_and_each_window_once():
    taps = LocalTaps()
    streamed = AudioEncoder(taps).stream(_speech_like(100))  # five windows
    assert taps.calls == 0
    streamed.window(Fraction(0))
    assert taps.calls == 1
    for frame in range(100 * 25):
        streamed.window(Fraction(frame, 25))
        assert len(streamed._kept) <= WINDOWS_KEPT
    assert taps.calls == 5


def test_a_sound_without_a_position_is_refused():
    encoder = AudioEncoder(LocalTaps())
    for waveform in (np.zeros(0, np.float32), np.zeros(319, np.float32)):
        with pytest.raises(AudioError):
            encoder.encode(waveform)
        with pytest.raises(AudioError):
            encoder.stream(waveform)


def test_what_flows_through_the_encoder_has_the_precision_asked_for():
    seen = []

    class Spy(LocalTaps):
        def forward(self, mel):
            seen.append(mel.dtype)
            return super().forward(mel.float())

    states = AudioEncoder(Spy(), dtype=torch.bfloat16).encode(_speech_like(1)).states
    assert seen == [torch.bfloat16]
    assert states.dtype == np.float32


def test_contract_name():
    assert latentsync.features.AudioEncoder is AudioEncoder


# -- files ------------------------------------------------------------------------------------------------------------


def test_another_size_of_encoder_is_read_as_its_file_says(tmp_path):
    encoder = AudioEncoder.from_file(_whisper_file(tmp_path / "small.pt", SMALL))
    assert encoder.encode(_speech_like(0.5)).states.shape == (25, 2, 32)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissingError, match=r"nothing\.pt"):
        AudioEncoder.from_file(tmp_path / "nothing.pt")


@pytest.mark.parametrize(
    "dims", [replace(SMALL, n_mels=128), replace(SMALL, n_audio_ctx=750)], ids=["128 bands", "15 seconds"]
)
def test_an_encoder_that_hears_otherwise_is_refused(tmp_path, dims):
    with pytest.raises(WeightsMismatchError, match=r"other\.pt"):
        AudioEncoder.from_file(_whisper_file(tmp_path / "other.pt", dims))


def test_tensors_that_do_not_fit_the_stated_size_are_refused(tmp_path):
    path = _whisper_file(tmp_path / "wrong.pt", SMALL, **{"encoder.conv1.weight": torch.zeros(7, 80, 3)})
    with pytest.raises(WeightsMismatchError, match=r"conv1\.weight"):
        AudioEncoder.from_file(path)


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_features_equal_the_published_ones(rule_encoder):
    golden = golden_arrays("whisper/features_demo1")
    features = rule_encoder.encode(_demo1())
    assert features.states.shape == tuple(golden["feat_shape"])
    assert relative_error(features.states[golden["feat_rows_idx"]], golden["feat_rows"]) < 1e-5
    assert np.abs(features.states.mean(axis=2) - golden["feat_row_mean"]).max() < 1e-5
    for fps in (25, 30):
        for frame, expected in zip(golden[f"fps{fps}_frames_idx"], golden[f"fps{fps}_frames"], strict=True):
            window = features.window(Fraction(int(frame), fps))
            assert np.abs(window - expected).max() < 1e-4
            assert relative_error(window, expected) < 1e-5


@pytest.mark.shared
def test_features_across_30_seconds_equal_the_published_ones(rule_encoder):
    golden = golden_arrays("whisper/features_long")
    features = rule_encoder.encode(np.tile(_demo1(), 4), "published")
    assert features.states.shape == tuple(golden["feat_shape"])
    assert relative_error(features.states[golden["feat_rows_idx"]], golden["feat_rows"]) < 1e-5
    assert np.abs(features.states.mean(axis=2) - golden["feat_row_mean"]).max() < 1e-5

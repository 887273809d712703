"""The Whisper taps against openai-whisper's own encoder and against the published code's features."""

from __future__ import annotations

import wave

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions

from latentsync.models.whisper import WhisperTaps
from tests.golden import fill_by_rule, relative_error, rule_input, shared_file
from tests.models.published import published_shapes, shapes_of

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
TOY = ModelDimensions(80, 20, 16, 2, 3, 0, 0, 0, 0, 0)


def toy_taps() -> WhisperTaps:
    return fill_by_rule(WhisperTaps(TOY))


@torch.no_grad()
def test_taps_are_the_stem_and_every_block_without_the_final_norm():
    taps, mel = toy_taps(), rule_input("mel", (2, 80, 40))
    states = taps(mel)
    assert (taps.n_taps, taps.width) == (4, 16)
    assert states.shape == (2, 20, 4, 16)
    assert torch.equal(taps.encoder.ln_post(states[:, :, -1]), taps.encoder(mel))
    for index, block in enumerate(taps.encoder.blocks):
        assert torch.equal(block(states[:, :, index]), states[:, :, index + 1])


@torch.no_grad()
def test_the_dtype_of_the_mel_is_the_precision():
    assert toy_taps()(rule_input("mel", (1, 80, 40)).bfloat16()).dtype == torch.bfloat16


def test_another_length_is_refused():
    with pytest.raises(ValueError, match="39 mel frames; the encoder takes 40"):
        toy_taps()(rule_input("mel", (1, 80, 39)))


def test_names_and_shapes_are_those_of_the_encoder_in_openai_s_file():
    encoder = {name: shape for name, shape in published_shapes("whisper_tiny").items() if name.startswith("encoder.")}
    assert shapes_of(WhisperTaps(TINY)) == encoder


@pytest.mark.shared
@torch.no_grad()
def test_states_are_the_published_ones():
    with wave.open(str(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav"))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    mel = log_mel_spectrogram(samples.astype(np.float32) / 32768)
    states = fill_by_rule(WhisperTaps(TINY))(F.pad(mel, (0, 3000 - mel.shape[1]))[None])[0]
    with np.load(shared_file("golden/whisper/demo1.npz")) as expected:
        assert relative_error(states[expected["feat_rows_idx"]], expected["feat_rows"]) < 1e-5
        assert relative_error(states[:480].mean(-1), expected["feat_row_mean"]) < 1e-4

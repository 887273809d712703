"""Whisper files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from latentsync.checkpoint import load_whisper_weights
from latentsync.errors import WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from tests.checkpoint.material import LFS_POINTER, small_unet

DIMS = ModelDimensions(80, 10, 16, 2, 2, 7, 5, 16, 2, 1)


@pytest.fixture
def model() -> Whisper:
    return Whisper(DIMS)


def _save(path: Path, model: Whisper, **changes: object) -> Path:
    torch.save({"dims": vars(DIMS), "model_state_dict": model.state_dict()} | changes, path)
    return path


def test_the_encoder_comes_without_its_prefix(tmp_path: Path, model: Whisper) -> None:
    dims, encoder = load_whisper_weights(_save(tmp_path / "own.pt", model))
    assert dims["n_audio_state"] == 16
    expected = model.encoder.state_dict()
    assert encoder.keys() == expected.keys()
    assert all(torch.equal(encoder[name], expected[name]) for name in expected)


def test_a_file_under_a_known_name_is_compared(
    tmp_path: Path, model: Whisper, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_whisper_weights(_save(tmp_path / "own.pt", model))
        assert caplog.text == ""
        load_whisper_weights(_save(tmp_path / "tiny.pt", model))
    assert "is not OpenAI's file of that name" in caplog.text


def test_another_format(tmp_path: Path, model: Whisper) -> None:
    torch.save(small_unet().state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(WeightsMismatchError, match="is no Whisper file in OpenAI's format"):
        load_whisper_weights(tmp_path / "tiny.pt")
    with pytest.raises(WeightsMismatchError, match="no Whisper encoder"):
        load_whisper_weights(_save(tmp_path / "a.pt", model, model_state_dict=model.decoder.state_dict()))
    with pytest.raises(WeightsCorruptError, match="dimension n_mels"):
        load_whisper_weights(_save(tmp_path / "b.pt", model, dims={"n_vocab": 3}))


def test_missing_and_pointer(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        load_whisper_weights(tmp_path / "tiny.pt")
    (tmp_path / "tiny.pt").write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match="Git-LFS"):
        load_whisper_weights(tmp_path / "tiny.pt")

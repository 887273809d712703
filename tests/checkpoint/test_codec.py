"""The autoencoder, from folders and single files, without a hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file

from latentsync.checkpoint import load_codec
from latentsync.checkpoint.codec import OLD_ATTENTION_NAMES, SD_VAE_CONFIG
from latentsync.errors import WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from tests.checkpoint.material import ERROR_MESSAGE, LFS_POINTER
from tests.golden import fill_by_rule, rule_input

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def small_vae() -> AutoencoderKL:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return fill_by_rule(AutoencoderKL(block_out_channels=(32, 32), **blocks))


def _old_names(folder: Path) -> None:
    """Write the folder's weights as diffusers did before 0.15, as sd-vae-ft-mse is published."""
    today = load_file(folder / WEIGHTS)
    old = {}
    for name, tensor in today.items():
        for before, after in OLD_ATTENTION_NAMES.items():
            name = name.replace(f".attentions.0.{after}.", f".attentions.0.{before}.")
        old[name] = tensor.clone()
    assert sum(name not in today for name in old) == 16  # encoder and decoder, 4 layers, weight and bias
    save_file(old, folder / WEIGHTS)


@pytest.mark.parametrize("old", [False, True])
def test_a_diffusers_folder(tmp_path: Path, small_vae: AutoencoderKL, old: bool) -> None:
    small_vae.save_pretrained(tmp_path)
    if old:
        _old_names(tmp_path)
    codec = load_codec(tmp_path)
    pixels = rule_input("pixels", (1, 3, 16, 16))
    with torch.no_grad():
        expected = small_vae.encode(pixels).latent_dist.mean
        assert torch.equal(codec.autoencoder.encode(pixels).latent_dist.mean, expected)
    assert not codec.training
    assert not codec.autoencoder.training


def test_the_weight_file_inside_a_folder_may_be_named(tmp_path: Path, small_vae: AutoencoderKL) -> None:
    small_vae.save_pretrained(tmp_path)
    assert load_codec(tmp_path / WEIGHTS).autoencoder.config.block_out_channels == [32, 32]


def test_the_published_autoencoder_without_its_configuration(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = AutoencoderKL.from_config(SD_VAE_CONFIG).state_dict()
    torch.save({name: torch.zeros(()).expand(tensor.shape) for name, tensor in shapes.items()}, tmp_path / "vae.pt")
    autoencoder = load_codec(tmp_path / "vae.pt").autoencoder
    assert sum(parameter.numel() for parameter in autoencoder.parameters()) == 83_653_863


def test_a_tiny_autoencoder(tmp_path: Path) -> None:
    tiny = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    tiny.save_pretrained(tmp_path)
    codec = load_codec(tmp_path, dtype=torch.float64)
    assert isinstance(codec.autoencoder, AutoencoderTiny)
    pixels = rule_input("pixels", (1, 3, 16, 16)).double()
    with torch.no_grad():
        assert torch.allclose(codec.encode(pixels), tiny.double().encode(pixels).latents)


def test_a_missing_tensor_is_not_made_up(tmp_path: Path, small_vae: AutoencoderKL) -> None:
    """diffusers' own loader would only warn, and go on with random numbers."""
    small_vae.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["quant_conv.bias"]
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(WeightsMismatchError, match="lacks 1 of .*: quant_conv.bias"):
        load_codec(tmp_path)


def test_another_class_is_refused(tmp_path: Path, small_vae: AutoencoderKL) -> None:
    small_vae.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"_class_name": "VQModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsMismatchError, match="belongs to a VQModel"):
        load_codec(tmp_path)


@pytest.mark.parametrize("broken", ["config.json", WEIGHTS])
def test_a_broken_folder(tmp_path: Path, small_vae: AutoencoderKL, broken: str) -> None:
    small_vae.save_pretrained(tmp_path)
    (tmp_path / broken).write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match=f"{broken} is a Git-LFS pointer"):
        load_codec(tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=WEIGHTS):
        load_codec(tmp_path)
    with pytest.raises(WeightsMissingError, match="nothing"):
        load_codec(tmp_path / "nothing")
    (tmp_path / WEIGHTS).write_bytes(ERROR_MESSAGE)
    with pytest.raises(WeightsCorruptError, match="JSON message"):
        load_codec(tmp_path)

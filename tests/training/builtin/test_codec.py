"""The codec's training as a user starts it, and what it writes."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from latentsync.checkpoint import latent_signature, load_codec, read_card
from latentsync.checkpoint.registry import CODEC_WEIGHTS
from latentsync.config import load_config
from latentsync.data.image_dataset import StillDataset
from latentsync.data.still_faces import StillFace
from latentsync.data.talkers.clip import make_talker
from latentsync.errors import ConfigError, WeightsMismatchError
from latentsync.models.codec import LatentCodec
from latentsync.training.builtin import images
from latentsync.training.builtin.codec import LatentMoments, standardize, train_codec
from latentsync.training.builtin.recipes import CodecRecipe
from latentsync.training.loop.trainer import TrainingResult
from tests.training.tiny_unet import ROOT

SMALL = [
    "data.talkers.train_clips=2", "data.talkers.validation_clips=1", "data.talkers.seconds=0.4", "data.resolution=32",
    "data.batch_size=2", "data.num_val_samples=3", "run.log_steps=1", "optimizer.lr_scheduler=constant",
    "model.block_out_channels=[8,8,8,8]", "run.mixed_precision=no", "run.adversarial_start=1",
    "run.adversarial_warmup=1", "run.discriminator_width=4",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all runs are, with the clips that they share."""
    return tmp_path_factory.mktemp("codecs")


def recipe_of(folder, *overrides: str) -> CodecRecipe:
    place = f"data.train_output_dir={folder}"
    return load_config(ROOT / "configs/codec/builtin.yaml", CodecRecipe, [*SMALL, place, *overrides])


def test_training_writes_a_codec_that_the_loader_reads_and_goes_on_exactly(place):
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for length in lengths:
            recipe = recipe_of(place, f"run.max_train_steps={length}", "optimizer.lr_warmup_steps=0")
            assert train_codec(recipe, name) is TrainingResult.FINISHED
    files = [place / name / "weights/last/diffusion_pytorch_model.safetensors" for name in ("whole", "parts")]
    whole, parts = map(load_file, files)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with (place / "whole" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [0, 4]
    assert float(rows[1]["psnr_in_mask"]) > float(rows[0]["psnr_in_mask"])
    with (place / "whole" / "train.csv").open() as file:
        contest = [float(row["discriminator"]) for row in csv.DictReader(file)]
    assert len(set(contest)) == 4
    written = load_codec(place / "whole" / "weights" / "best")
    assert written.encode(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 4, 4)
    with pytest.raises(ConfigError, match="run.edge_loss_weight"):
        train_codec(recipe_of(place, "run.edge_loss_weight=2"), "whole")


def test_people_are_mixed_in_and_held_out(place, monkeypatch):
    draws = np.random.default_rng(0)
    points = make_talker(1, 2, 3, seconds=0.4, size=80).landmarks[0]
    pixels = [draws.integers(0, 256, (80, 80, 3), np.uint8) for _ in range(4)]
    contents = ("0" * 8, "5" * 8, "9" * 8, "f" * 8)
    stills = [StillFace(place, name, 0, image, points) for name, image in zip(contents, pixels, strict=True)]
    monkeypatch.setattr(images, "find_stills", lambda *_: stills)
    recipe = recipe_of(place, "data.people=somewhere", "run.max_train_steps=1", "optimizer.lr_warmup_steps=0")
    seen = []
    monkeypatch.setattr(images, "StillDataset", lambda some, *rest: seen.append(some) or StillDataset(some, *rest))
    assert train_codec(recipe, "people") is TrainingResult.FINISHED
    assert [[still.content[0] for still in some] for some in seen] == [["5", "9", "f"], ["0"]]


def test_going_on_from_a_codec_trains_its_decoder_only(place):
    short = ["run.max_train_steps=2", "optimizer.lr_warmup_steps=0"]
    assert train_codec(recipe_of(place, *short), "start") is TrainingResult.FINISHED
    start = place / "start" / "weights" / "last"
    recipe = recipe_of(place, *short, f"ckpt.resume_ckpt_path={start}")
    assert train_codec(recipe, "decoder") is TrainingResult.FINISHED
    name = "diffusion_pytorch_model.safetensors"
    before, after = load_file(start / name), load_file(place / "decoder" / "weights" / "last" / name)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "post_quant_conv"}


def test_a_small_decoder_learns_the_latents_of_another_codec_and_is_loaded_with_its_encoder(place):
    short = ["run.max_train_steps=2", "optimizer.lr_warmup_steps=0"]
    assert train_codec(recipe_of(place, *short), "start") is TrainingResult.FINISHED
    whole = place / "start" / "weights" / "last"
    words = [word for word in SMALL if not word.startswith("model.")]
    words += [f"data.train_output_dir={place}", f"ckpt.latents_of={whole}", *short]
    words += ["model.decoder_block_out_channels=[4,4,4,4]"]
    config = ROOT / "configs/codec/builtin_small.yaml"
    assert train_codec(load_config(config, CodecRecipe, words), "small") is TrainingResult.FINISHED
    folder = place / "small" / "weights" / "last"
    original, small = load_codec(whole), load_codec(folder)
    pixels = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    latents = small.encode(pixels)
    assert torch.equal(latents, original.encode(pixels))
    assert small.decode(latents).shape == pixels.shape
    assert latent_signature(small) == latent_signature(original)
    card = read_card(folder / CODEC_WEIGHTS)
    assert (card.kind, card.latents, card.global_step) == ("codec", latent_signature(original), 2)
    with pytest.raises(ConfigError, match="latents_of names no codec"):
        train_codec(recipe_of(place, f"ckpt.resume_ckpt_path={folder}"), "alone")

    goes_on = [*words, f"ckpt.resume_ckpt_path={folder}"]
    assert train_codec(load_config(config, CodecRecipe, goes_on), "faces") is TrainingResult.FINISHED
    before, after = (load_file(each / CODEC_WEIGHTS) for each in (folder, place / "faces" / "weights" / "last"))
    assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} == {"decoder"}
    assert load_codec(place / "faces" / "weights" / "last").encoder is None  # it keeps its own

    shutil.copytree(place / "small", place / "moved" / "small")
    shutil.copytree(place / "faces", place / "moved" / "start")  # another codec where the first one was
    with pytest.raises(WeightsMismatchError, match="latents of another codec"):
        load_codec(place / "moved" / "small" / "weights" / "last")


def test_a_model_block_that_is_no_autoencoder_is_refused(place):
    with pytest.raises(ConfigError, match="describes no codec"):
        train_codec(recipe_of(place, "model.layers=3"), "run")


def test_standardized_latents_and_equal_images():
    torch.manual_seed(0)
    original = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=6,
        norm_num_groups=4,
    ).eval()
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        posterior = original.encode(images).latent_dist
        result = standardize(original, LatentMoments.of(posterior.mean))
        standard = LatentCodec(result)
        latents = standard.encode(images)
        assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-3)
        assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(6), atol=1e-3)
        reconstruction = original.decode(posterior.mean).sample
        assert torch.allclose(standard.decode(latents), reconstruction, atol=1e-4)
        mean, std = standard.posterior(images)
        scale = posterior.mean.std(dim=(0, 2, 3))
        assert torch.allclose(std, posterior.std / scale[:, None, None], rtol=1e-2)

"""The training of a small codec's encoder as a user starts it, and what it writes."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from latentsync.checkpoint import WeightsCard, latent_signature, load_codec, save_codec
from latentsync.checkpoint.registry import CODEC_WEIGHTS
from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.training.builtin.recipes import CodecRecipe
from latentsync.training.builtin.small_encoder import train_small_encoder
from latentsync.training.loop.trainer import TrainingResult
from tests.models.networks import small_kl
from tests.training.tiny_unet import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A codec, a small decoder of its latents, and room for runs."""
    folder = tmp_path_factory.mktemp("small_encoder")
    torch.manual_seed(0)
    save_codec(folder / "whole", small_kl())
    decoder = AutoencoderTiny(
        latent_channels=4, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4
    )
    signature = latent_signature(load_codec(folder / "whole"))
    save_codec(folder / "decoder", decoder, WeightsCard("codec", latents=signature), folder / "whole")
    return folder


def recipe_of(place, *overrides: str) -> CodecRecipe:
    words = [
        "data.talkers.train_clips=2", "data.talkers.validation_clips=1", "data.talkers.seconds=0.4",
        "data.resolution=32", "data.batch_size=4", "data.num_val_samples=3", "run.log_steps=1",
        "run.mixed_precision=no", "run.max_train_steps=30", "run.ema_decay=0.5", "optimizer.lr_warmup_steps=0",
        "optimizer.lr_scheduler=constant", "model.encoder_block_out_channels=[8,8,8,8]",
        f"data.train_output_dir={place}", f"ckpt.latents_of={place / 'whole'}",
        f"ckpt.resume_ckpt_path={place / 'decoder'}",
    ]  # fmt: skip
    return load_config(ROOT / "configs/codec/builtin_small_encoder.yaml", CodecRecipe, [*words, *overrides])


def test_it_learns_the_latents_of_another_codec_and_leaves_the_decoder_as_it_is(place):
    assert train_small_encoder(recipe_of(place), "run") is TrainingResult.FINISHED
    whole, small = load_codec(place / "whole"), load_codec(place / "run" / "weights" / "last")
    assert small.encoder is None and latent_signature(small) == latent_signature(whole)
    rows = [line.split(",") for line in (place / "run" / "validation.csv").read_text().splitlines()]
    masked = rows[0].index("error_masked")
    assert float(rows[-1][masked]) < 0.9 * float(rows[1][masked])
    weights = [load_file(place / name / CODEC_WEIGHTS) for name in ("decoder", "run/weights/last")]
    before, after = ({key: w[key] for key in w if key.startswith("decoder.")} for w in weights)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_what_it_needs_is_said(place):
    for overrides, message in (
        (["ckpt.latents_of=null"], "needs the codec"),
        ([f"ckpt.resume_ckpt_path={place / 'whole'}"], "is no AutoencoderTiny"),
        (["model.latent_channels=6"], "describes no encoder"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_small_encoder(recipe_of(place, *overrides), "refused")

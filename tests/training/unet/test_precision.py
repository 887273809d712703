"""Half precision on a GPU, shown on the CPU: which network computes in which, and what gradients are left of it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import latent_signature, load_codec
from latentsync.config import load_config
from latentsync.diffusion.conditioning import Conditioning
from latentsync.errors import ConfigError
from latentsync.recipe import UNetRecipe
from latentsync.training.loop import precision
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.latents import LatentBatch, StepDraws
from latentsync.training.unet.networks import load_frozen_codec, load_loss_networks, loss_config_of, make_objective
from latentsync.training.unet.objective import UNetObjective
from latentsync.training.unet.run import train_unet
from tests.golden import rule_input
from tests.training.tiny_unet import ROOT, write_networks

CPU = torch.device("cpu")
LOSSES = {"perceptual": "run.perceptual_loss_weight", "trepa": "run.trepa_loss_weight", "sync": "run.sync_loss_weight"}
SMALL = [
    "data.resolution=64", "data.num_frames=16", "model.in_channels=13", "model.out_channels=4",
    "run.perceptual_loss_weight=0.1", "run.trepa_loss_weight=10", "ckpt.resume_ckpt_path=null",
]  # fmt: skip


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[str]:
    return write_networks(tmp_path_factory.mktemp("precision") / "networks", width=128)


@pytest.fixture
def half_on_the_cpu(monkeypatch) -> None:
    """As if the CPU were a GPU, as far as precision is concerned."""
    monkeypatch.setattr(precision, "WITHOUT_HALF", ())


def recipe_of(networks: list[str], *overrides: str) -> UNetRecipe:
    return load_config(ROOT / "configs" / "unet" / "talkers_stage2.yaml", UNetRecipe, [*networks, *SMALL, *overrides])


def objective_of(recipe: UNetRecipe) -> UNetObjective:
    losses, codec = loss_config_of(recipe), load_frozen_codec(recipe, CPU)
    return make_objective(recipe, losses, load_loss_networks(recipe, losses, codec, CPU), codec)


@pytest.mark.parametrize(("asked", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_frozen_networks_follow_the_training(networks, half_on_the_cpu, asked, dtype):
    recipe = recipe_of(networks, f"run.mixed_precision={asked}")
    losses, codec = loss_config_of(recipe), load_frozen_codec(recipe, CPU)
    found = load_loss_networks(recipe, losses, codec, CPU)
    assert {p.dtype for p in codec.parameters()} == {p.dtype for p in found.trepa.parameters()} == {dtype}
    assert {p.dtype for p in found.perceptual.parameters()} == {torch.float32}
    sync = torch.float32 if asked == "bf16" else dtype
    assert {p.dtype for p in found.sync.parameters()} == {sync}
    whole = recipe_of(networks, "run.mixed_precision_training=false", f"run.mixed_precision={asked}")
    assert {p.dtype for p in load_frozen_codec(whole, CPU).parameters()} == {torch.float32}


def test_an_unknown_precision_is_refused(networks):
    with pytest.raises(ConfigError, match="'fp8'"):
        recipe_of(networks, "run.mixed_precision=fp8")


def latent_batch() -> LatentBatch:
    target, masked, reference = (rule_input(name, (1, 4, 16, 8, 8)) for name in ("target", "masked", "reference"))
    conditioning = Conditioning(torch.zeros(1, 1, 16, 8, 8), masked, reference)
    pixels = rule_input("pixels", (1, 16, 3, 64, 64)).tanh()
    return LatentBatch(target, conditioning, torch.zeros(1, 16, 5, 128), pixels, rule_input("mel", (1, 1, 80, 52)))


def gradient(networks: list[str], loss: str, training: bool) -> torch.Tensor:
    """Of one loss at the noise that a U-Net predicts, which is that at the latents times a constant."""
    others = [f"{weight}=0" for name, weight in LOSSES.items() if name != loss]
    asked = ["run.mixed_precision=bf16", f"run.mixed_precision_training={training}", "run.recon_loss_weight=0"]
    predicted = rule_input("predicted", (1, 4, 16, 8, 8)).requires_grad_()
    draws = StepDraws(torch.tensor([300]), rule_input("noise", (1, 4, 16, 8, 8)))
    total = objective_of(recipe_of(networks, *others, *asked))(lambda *_: predicted, latent_batch(), draws).total
    (found,) = torch.autograd.grad(total, predicted)
    return found


@pytest.mark.parametrize("loss", LOSSES)
def test_bf16_gradients_at_the_latents_point_where_those_of_fp32_point(networks, half_on_the_cpu, loss):
    half, single = (gradient(networks, loss, training).flatten() for training in (True, False))
    assert not torch.equal(half, single)
    assert torch.nn.functional.cosine_similarity(half, single, 0) >= 0.99
    assert half.norm().item() == pytest.approx(single.norm().item(), rel=0.05)


def test_a_run_in_bf16_trains_validates_and_shows(networks, half_on_the_cpu, fresh_accelerators, tmp_path):
    short = [
        "data.talkers.train_clips=2", "data.talkers.validation_clips=1", "data.talkers.seconds=2.4",
        "data.num_val_samples=1", "data.batch_size=1", "data.cache_latents=true", "run.mixed_precision=bf16",
        "run.max_train_steps=1", "run.validation_steps=1", "run.log_steps=1", "run.inference_steps=1",
        "optimizer.lr_warmup_steps=0", "model.block_out_channels=[32,32,32]", "data.resolution=32",
        f"data.train_output_dir={tmp_path}",
    ]  # fmt: skip
    assert train_unet(recipe_of(networks, *short), "half") is TrainingResult.FINISHED
    run = tmp_path / "half"
    for name, rows in (("train", 1), ("validation", 2)):
        with (run / f"{name}.csv").open() as file:
            table = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        assert len(table) == rows
        assert all(math.isfinite(value) for row in table for value in row.values())
        assert {"recon", "sync", "perceptual", "trepa"} <= table[0].keys()
    assert (run / "validation" / "step_000000001.png").stat().st_size > 1000
    assert not (run / "notes.jsonl").exists()  # every loss sends gradients
    weights = load_file(run / "weights" / "last.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_codec_in_bf16_keeps_the_mark_of_its_latents(tmp_path, networks):
    folder = Path(next(n for n in networks if n.startswith("networks.codec=")).partition("=")[2])
    marks = {latent_signature(load_codec(folder, dtype=dtype)) for dtype in precision.DTYPES.values()}
    assert len(marks) == 1

"""The memory estimate, against tensors whose sizes are known."""

from __future__ import annotations

import pytest
import torch

from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.recipe import UNetRecipe
from latentsync.training.unet import memory as unet_memory
from latentsync.training.unet.memory import GIB, PeakMemory, estimate_dub, estimate_memory, settle_checkpointing
from tests.models.published import on_meta
from tests.training.tiny_unet import ROOT

STAGE_1 = ROOT / "configs" / "unet" / "talkers_stage1.yaml"


def test_the_peak_counts_what_is_held_at_once():
    with PeakMemory() as memory:
        first = torch.zeros(1000)
        second = first + 1  # 8000 bytes are held
        view = second[:500]
        del first
        third = second * 2
        del second, view, third
        torch.zeros(1500)
    assert memory.peak == 8000


def test_views_of_what_was_there_before_take_nothing():
    weight = torch.zeros(1000, 10)
    with PeakMemory() as memory:
        made = weight.t().view(10, 1000)[:5] @ weight[:, :3]
        del made
        weight.add_(1)
    assert memory.peak == 5 * 3 * 4


def test_weights_optimiser_and_activations():
    # Large enough for activations to outweigh what gradients leave behind.
    small = ["data.batch_size=8", "data.resolution=128", "run.ema_decay=0"]
    plain, saving, encoding = (
        estimate_memory(load_config(STAGE_1, UNetRecipe, [*small, override]))
        for override in (
            "run.enable_gradient_checkpointing=false",
            "run.enable_gradient_checkpointing=true",
            "data.cache_latents=false",
        )
    )
    recipe = load_config(STAGE_1, UNetRecipe)
    size = 4 * sum(p.numel() for p in on_meta(lambda: UNet3D(UNetConfig.from_dict(recipe.model))).parameters())
    assert (plain.weights, plain.optimizer) == (size, 2 * size)
    assert plain.total == pytest.approx(plain.weights + plain.optimizer + plain.frozen + plain.step)
    assert size < saving.step < plain.step <= encoding.step < GIB  # frames are encoded in slices


def settled(monkeypatch, free: int, *overrides: str, processes: int = 1) -> object:
    """What becomes of ``auto`` where ``free`` bytes are free."""
    monkeypatch.setattr(unet_memory, "_free_bytes", lambda device, processes: free)
    recipe = load_config(STAGE_1, UNetRecipe, ["run.enable_gradient_checkpointing=auto", *overrides])
    return settle_checkpointing(recipe, torch.device("cpu"), processes).run.enable_gradient_checkpointing


def test_activations_are_kept_where_there_is_room(monkeypatch):
    keeping = load_config(STAGE_1, UNetRecipe, ["run.enable_gradient_checkpointing=false"])
    needed = estimate_memory(keeping, torch.device("cpu")).total
    assert settled(monkeypatch, int(1.11 * needed)) is False
    assert settled(monkeypatch, needed) is True  # not all that a step takes is counted
    assert settled(monkeypatch, int(1.11 * needed), processes=2) is True  # gradients to be exchanged
    shared_out = ("run.sharded=true", "run.mixed_precision=bf16")
    assert settled(monkeypatch, 100 * needed, *shared_out, processes=2) is True


@pytest.mark.parametrize("asked", ["true", "false"])
def test_who_says_it_is_not_asked_again(asked, monkeypatch):
    monkeypatch.setattr(unet_memory, "estimate_memory", None)
    assert settled(monkeypatch, 0, f"run.enable_gradient_checkpointing={asked}") is (asked == "true")


def test_an_unknown_word_is_refused():
    with pytest.raises(ConfigError, match="'sometimes'"):
        load_config(STAGE_1, UNetRecipe, ["run.enable_gradient_checkpointing=sometimes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "below", "counted"),  # GiB that the published runs are said to take at batch size 1, framework included
    [
        ("stage1", 23, 13.3),
        ("stage1_512", 30, 14.7),
        ("stage2", 30, 19.2),
        ("stage2_512", 55, 28.5),
        ("stage2_efficient", 20, 13.7),
    ],
)
def test_published_files_fit_where_they_are_said_to_fit(name, below, counted, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = load_config(ROOT / "configs" / "unet" / f"{name}.yaml", UNetRecipe)
    estimate, dub = estimate_memory(recipe), estimate_dub(recipe)
    assert estimate.total / GIB == pytest.approx(counted, abs=0.1)
    assert dub.copy + dub.work < 4.3 * GIB  # at 512 pixels the room of a validation was once 16
    weights = (849_962_244 if name.startswith("stage1") else 1_000_000_000) * 4
    assert weights <= estimate.weights
    assert estimate.total < below * GIB

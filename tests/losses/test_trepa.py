"""The temporal loss against the published numbers (a reduced encoder with the rule's weights)."""

from __future__ import annotations

import pytest
import torch

from latentsync.losses.trepa import TrepaLoss, encoder_input
from latentsync.models.videomae import VideoMAE
from tests.golden import fill_by_rule, golden_arrays, relative_error, rule_input
from tests.models.networks import REDUCED_VIDEOMAE, SMALL_VIDEOMAE


def recorded(name: str) -> torch.Tensor:
    """(1, 16, 3, 256, 256)"""
    return rule_input(name, (1, 3, 16, 256, 256)).transpose(1, 2)


@pytest.fixture(scope="module")
def small() -> TrepaLoss:
    return TrepaLoss(fill_by_rule(VideoMAE(SMALL_VIDEOMAE)))


def test_what_the_encoder_is_given_is_what_the_published_code_gives():
    clip = encoder_input(recorded("trepa_fake"), 224)
    expected = golden_arrays("training/trepa")["preprocessed_fake_samples"]
    assert relative_error(clip[:, :, [0, 7, 15]][..., ::37, ::41], expected) < 1e-6


@torch.no_grad()
def test_the_loss_is_the_published_one():
    loss = TrepaLoss(fill_by_rule(VideoMAE(REDUCED_VIDEOMAE)))
    expected = golden_arrays("training/trepa")["trepa_loss"].tolist()
    assert loss(recorded("trepa_fake"), recorded("trepa_real")).tolist() == pytest.approx(expected, rel=1e-4)


def test_equal_clips_cost_nothing_and_each_clip_has_its_own_loss(small):
    real = rule_input("clips", (2, 4, 3, 40, 40))
    fake = real.clone()
    fake[1] = fake[1].flip(0)  # the same frames in another order
    loss = small(fake, real)
    assert loss[0] == 0
    assert loss[1] > 0


def test_the_gradient_reaches_the_prediction_and_not_the_network_or_the_target():
    encoder = fill_by_rule(VideoMAE(SMALL_VIDEOMAE))
    fake, real = (rule_input(name, (1, 4, 3, 40, 40)).requires_grad_() for name in ("fake", "real"))
    TrepaLoss(encoder)(fake, real).sum().backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    assert all(p.grad is None for p in encoder.parameters())


@torch.no_grad()
def test_an_encoder_in_half_precision_gives_about_the_same_loss_in_single(small):
    fake, real = (rule_input(name, (1, 4, 3, 40, 40)) for name in ("fake", "real"))
    half = TrepaLoss(fill_by_rule(VideoMAE(SMALL_VIDEOMAE)).bfloat16())(fake, real)
    assert half.dtype is torch.float32
    assert torch.allclose(half, small(fake, real), rtol=0.2)

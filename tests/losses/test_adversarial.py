"""The losses of a discriminator, and whom their gradients reach."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentsync.losses.adversarial import (
    LARGEST_FACTOR,
    adaptive_factor,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from latentsync.models.discriminator import Frozen, PatchDiscriminator

EVEN = torch.ones(1, 32, 32)


def test_hinge_by_hand():
    real, decoded = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[-3.0, 1.0]]]])
    assert discriminator_loss(real, decoded, EVEN) == pytest.approx(0.5 * (0.5 + 1.0))
    assert adversarial_loss(decoded, EVEN) == pytest.approx(1.0)
    left = torch.zeros(1, 32, 32)
    left[..., :16] = 1
    assert discriminator_loss(real, decoded, left) == 0
    assert adversarial_loss(decoded, left) == pytest.approx(3.0)


def test_equal_features_cost_nothing_and_only_the_decoded_side_learns():
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=4)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    seen = judge(images)
    assert seen.scores.shape == (2, 1, 4, 4)
    assert feature_loss(seen.features, seen.features, EVEN) == 0
    other = torch.rand(2, 3, 32, 32, requires_grad=True)
    with Frozen(judge):
        features = judge(other).features
    feature_loss(seen.features, features, EVEN).backward()
    assert images.grad is None and all(p.grad is None for p in judge.parameters())
    assert other.grad.abs().sum() > 0
    assert all(p.requires_grad for p in judge.parameters())


def test_the_factor_makes_both_gradients_equally_long():
    last = nn.Parameter(torch.tensor([1.0, 2.0]))
    error, adversarial = (last * 6).sum(), (last * 2).sum()
    assert adaptive_factor(error, adversarial, last) == pytest.approx(3, rel=1e-3)
    assert adaptive_factor(error, (last * 1e-6).sum(), last) == LARGEST_FACTOR

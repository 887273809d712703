"""The perceptual loss against the published numbers (LPIPS with the rule's weights)."""

from __future__ import annotations

import pytest
import torch
from lpips import LPIPS
from lpips.lpips import ScalingLayer

from latentsync.losses.perceptual import PerceptualLoss
from latentsync.models.perceptual import build_lpips
from tests.golden import golden_arrays, rule_input, rule_tensor
from tests.models.published import rule_filled


def rule_lpips() -> LPIPS:
    """Every linear layer has two names in the state dict; the rule goes by the first, 'lin0.model.1.weight'."""

    def weight(name: str, shape: list[int]) -> torch.Tensor:
        layer, _, constant = name.partition(".")
        if layer == "scaling_layer":
            return getattr(ScalingLayer(), constant)
        return rule_tensor(name.replace("lins.", "lin"), tuple(shape))

    return rule_filled(build_lpips, weight)


@pytest.fixture(scope="module")
def loss() -> PerceptualLoss:
    return PerceptualLoss(rule_lpips())


def faces(lower: torch.Tensor, upper: float) -> torch.Tensor:
    """(1, F, 3, 128, 128) whose lower halves are ``lower`` (F, 3, 64, 128)."""
    return torch.cat([torch.full_like(lower, upper), lower], dim=2)[None]


@torch.no_grad()
def test_the_lower_half_gives_the_published_number_whatever_the_upper_half_is(loss):
    predicted, target = (0.5 * rule_input(name, (2, 3, 64, 128)) for name in ("lpips_pred", "lpips_gt"))
    expected = golden_arrays("training/lpips")
    value = loss(faces(predicted, 0.3), faces(target, -1.0))
    assert value.tolist() == pytest.approx(expected["mean"].tolist(), rel=1e-5)


@torch.no_grad()
def test_every_clip_has_its_own_mean_over_its_frames(loss):
    predicted, target = (0.5 * rule_input(name, (2, 3, 64, 128)) for name in ("lpips_pred", "lpips_gt"))
    clips = [torch.cat([faces(x[k : k + 1], 0.0) for k in range(2)]) for x in (predicted, target)]
    expected = golden_arrays("training/lpips")["per_image"].ravel()
    assert loss(*clips).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_gradient_reaches_the_face_and_not_the_network():
    network = rule_lpips()
    predicted = rule_input("face", (1, 1, 3, 32, 32)).requires_grad_()
    PerceptualLoss(network)(predicted, torch.zeros(1, 1, 3, 32, 32)).sum().backward()
    assert (predicted.grad[..., :16, :] == 0).all()
    assert predicted.grad[..., 16:, :].abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())

"""Losses on single images; the perceptual one against the published numbers (LPIPS with the rule's weights)."""

from __future__ import annotations

import pytest
import torch

from latentsync.losses.image import PerceptualLoss, image_loss, kl_divergence
from tests.golden import golden_arrays, rule_input
from tests.models.published import rule_lpips


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


def test_image_loss_counts_what_the_weight_says():
    images = torch.zeros(1, 3, 8, 8)
    reconstruction = torch.full_like(images, 0.5)  # wrong everywhere by one half, without a wrong edge
    weight = torch.ones(1, 8, 8)
    assert float(image_loss(reconstruction, images, weight, edges=1.0)) == pytest.approx(0.5)
    reconstruction[..., :4] = 0  # now half of it is right, with one wrong edge per row
    assert float(image_loss(reconstruction, images, weight, edges=0.0)) == pytest.approx(0.25)
    assert float(image_loss(reconstruction, images, weight, edges=1.0)) == pytest.approx(0.25 + 0.5 / 7)
    weight[..., 4:] = 0
    assert float(image_loss(reconstruction, images, weight, edges=0.0)) == 0


def test_kl_divergence_is_zero_for_the_standard_normal_distribution_only():
    mean, log_variance = torch.zeros(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    assert float(kl_divergence(mean, log_variance)) == 0
    assert float(kl_divergence(mean + 1, log_variance)) == pytest.approx(0.5)
    assert float(kl_divergence(mean, log_variance - 2)) == pytest.approx(0.5 * (torch.e**-2 + 1))

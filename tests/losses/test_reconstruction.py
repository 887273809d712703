"""The losses against numbers of the published code (LPIPS with the rule's weights), and what counts in each of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from latentsync.losses.reconstruction import PerceptualLoss, image_loss, kl_divergence, movement_loss, noise_loss
from tests.golden import golden_arrays, rule_input
from tests.models.published import rule_lpips

PREDICTED, NOISE = (rule_input(name, (2, 4, 3, 4, 4)) for name in ("predicted", "noise"))
TARGET = rule_input("target", (2, 4, 3, 4, 4))
KEEP = torch.ones(2, 1, 3, 4, 4)
KEEP[..., 2:, :] = 0


# -- noise ------------------------------------------------------------------------------------------------------------


def test_without_weights_it_is_the_mean_squared_error():
    assert noise_loss(PREDICTED, NOISE, KEEP).item() == pytest.approx(F.mse_loss(PREDICTED, NOISE).item(), rel=1e-6)


def test_with_weight_0_only_the_area_to_be_generated_counts():
    expected = F.mse_loss(PREDICTED[..., 2:, :], NOISE[..., 2:, :]).item()
    assert noise_loss(PREDICTED, NOISE, KEEP, 0.0).item() == pytest.approx(expected, rel=1e-6)
    kept = PREDICTED.clone()
    kept[..., :2, :] += 100
    assert noise_loss(kept, NOISE, KEEP, 0.0) == noise_loss(PREDICTED, NOISE, KEEP, 0.0)


@given(st.floats(0.0, 1.0), st.floats(0.0, 10.0))
def test_an_even_error_costs_the_same_whatever_the_weight(kept_weight, error):
    loss = noise_loss(NOISE + error, NOISE, KEEP, kept_weight)
    assert loss.item() == pytest.approx(error**2, rel=1e-3, abs=1e-5)


def test_half_precision_is_summed_in_single():
    # the squares of 300 overflow half precision
    assert noise_loss(300 * torch.ones_like(NOISE).half(), torch.zeros_like(NOISE), KEEP).item() == 90_000


# -- movement ---------------------------------------------------------------------------------------------------------


def test_an_error_that_stays_costs_nothing():
    assert movement_loss(TARGET + rule_input("error", (2, 4, 1, 4, 4)), TARGET, KEEP).abs().max() < 1e-6


def test_an_error_that_comes_and_goes_costs_its_steps():
    error = torch.tensor([0.0, 2.0, 1.0]).view(1, 1, 3, 1, 1) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    assert movement_loss(TARGET + error, TARGET, KEEP).tolist() == pytest.approx([1.5, 4.5], rel=1e-5)


def test_what_is_kept_may_move():
    latents = TARGET.clone()
    latents[:, :, 1, :2] += 100
    assert movement_loss(latents, TARGET, KEEP).tolist() == [0, 0]


def test_a_single_frame_does_not_move():
    with pytest.raises(ValueError, match="single frame"):
        movement_loss(TARGET[:, :, :1], TARGET[:, :, :1], KEEP[:, :, :1])


# -- images -----------------------------------------------------------------------------------------------------------


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


# -- LPIPS ------------------------------------------------------------------------------------------------------------


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

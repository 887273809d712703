"""The noise loss, whole and weighted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from latentsync.losses.reconstruction import noise_loss
from tests.golden import rule_input

PREDICTED, NOISE = (rule_input(name, (2, 4, 3, 4, 4)) for name in ("predicted", "noise"))
KEEP = torch.ones(2, 1, 3, 4, 4)
KEEP[..., 2:, :] = 0


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

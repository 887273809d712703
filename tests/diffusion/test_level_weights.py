"""Weights of the noise levels."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.level_weights import level_weights
from latentsync.diffusion.schedule import make_scheduler
from latentsync.errors import ConfigError

ALPHA_BARS = make_scheduler("ddim").alphas_cumprod


@pytest.mark.parametrize("weighting", ["uniform", "alpha_bar", "min_snr", "velocity"])
def test_the_mean_weight_is_one_so_that_the_losses_keep_their_scale(weighting):
    assert level_weights(ALPHA_BARS, weighting).mean().item() == pytest.approx(1, rel=1e-5)


def test_uniform_weights_change_nothing():
    assert (level_weights(ALPHA_BARS, "uniform") == 1).all()


@pytest.mark.parametrize("weighting", ["alpha_bar", "min_snr"])
def test_the_noisier_a_level_the_less_it_counts(weighting):
    weights = level_weights(ALPHA_BARS, weighting)
    assert (weights.diff() <= 0).all()
    assert weights[999] < 0.02 * weights[0]


def test_the_ratio_of_signal_to_noise_is_cut_at_five():
    weights = level_weights(ALPHA_BARS, "min_snr")
    ratio = ALPHA_BARS / (1 - ALPHA_BARS)
    assert torch.equal(weights == weights[0], ratio >= 5)
    assert (weights[700] / weights[900]).item() == pytest.approx((ratio[700] / ratio[900]).item(), rel=1e-5)


def test_an_error_of_the_noise_counts_as_that_of_the_velocity_does():
    """The velocity sqrt(a) noise - sqrt(1 - a) x0, of a clean value x0 that the predicted noise implies."""
    weights, error = level_weights(ALPHA_BARS, "velocity"), 0.01
    signal, noise = ALPHA_BARS.sqrt(), (1 - ALPHA_BARS).sqrt()
    wrong = signal * error - noise * (-noise * error / signal)
    assert torch.allclose(wrong.square() / error**2, weights / weights[0] / ALPHA_BARS[0], rtol=1e-4)


def test_another_name_is_refused():
    with pytest.raises(ConfigError, match="'snr'"):
        level_weights(ALPHA_BARS, "snr")

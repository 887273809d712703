"""Draw order and mixture of the noise, to the number; weights of the noise levels."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.noise import add_noise, estimate_clean, level_weights, mix_noise, mixed_noise, shared_noise
from latentsync.diffusion.schedule import make_scheduler
from latentsync.errors import ConfigError
from tests.golden import golden_arrays, relative_error, rule_input

ALPHA_BARS = make_scheduler("ddim").alphas_cumprod
SHAPE = (1, 4, 4, 8, 8)


def test_shared_noise_is_drawn_as_the_published_pipeline_does():
    expected = torch.from_numpy(golden_arrays("loop/shared_noise")["initial_noise"])
    noise = shared_noise(torch.Generator().manual_seed(1247), 3, 5, 8, 8)
    assert noise.shape == (3, 4, 5, 8, 8)
    for clip in range(3):
        for frame in range(5):
            assert torch.equal(noise[clip, :, frame], expected[0, :, 0])


def test_mixture_equals_the_published_one():
    golden = golden_arrays("training/mixed_noise")
    shared = rule_input("train_noise_shared", (1, 4, 16, 8, 8))[:, :, :1]
    independent = rule_input("train_noise_ind", (1, 4, 16, 8, 8))
    for alpha, name in ((1.0, "mixed_noise"), (0.5, "mixed_noise_alpha0.5")):
        assert (mix_noise(shared, independent, alpha) - torch.from_numpy(golden[name])).abs().max() < 1e-6


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0])
def test_mixed_noise_has_unit_variance_and_the_stated_correlation(alpha):
    noise = mixed_noise(torch.Generator().manual_seed(0), 2, 16, 48, 48, alpha)
    assert noise.shape == (2, 4, 16, 48, 48)
    assert noise.var().item() == pytest.approx(1, abs=0.03)
    assert (noise[:, :, 0] * noise[:, :, 9]).mean().item() == pytest.approx(alpha**2 / (1 + alpha**2), abs=0.03)
    assert (noise[0] * noise[1]).mean().item() == pytest.approx(0, abs=0.03)  # clips have nothing in common


def test_latents_may_have_another_number_of_channels():
    generator = torch.Generator().manual_seed(0)
    assert shared_noise(generator, 2, 3, 4, 5, channels=8).shape == (2, 8, 3, 4, 5)
    assert mixed_noise(generator, 2, 3, 4, 5, channels=8).shape == (2, 8, 3, 4, 5)


@pytest.mark.parametrize("step", [0, 1, 250, 500, 999])
def test_the_one_step_estimate_is_the_published_one(step):
    noisy, noise = rule_input("x0_xt", SHAPE), rule_input("x0_noise_pred", SHAPE)
    expected = golden_arrays("training/step")[f"one_step_x0_t{step}"]
    assert relative_error(estimate_clean(noisy, noise, ALPHA_BARS[[step]]), expected) < 1e-6


def test_noise_is_added_as_published_each_clip_at_its_own_step():
    clean, noise, steps = rule_input("clean", (3, *SHAPE[1:])), rule_input("noise", (3, *SHAPE[1:])), [0, 500, 999]
    expected = make_scheduler("ddim").add_noise(clean, noise, torch.tensor(steps))
    assert relative_error(add_noise(clean, noise, ALPHA_BARS[steps]), expected) < 1e-6


@pytest.mark.parametrize("step", [0, 500, 999])
def test_the_true_noise_gives_the_clean_latents_back(step):
    clean, noise = rule_input("clean", SHAPE).double(), rule_input("noise", SHAPE).double()
    alpha_bar = ALPHA_BARS[[step]].double()
    assert relative_error(estimate_clean(add_noise(clean, noise, alpha_bar), noise, alpha_bar), clean) < 1e-12


def test_the_stated_enlargement_of_an_error_at_the_noisiest_step():
    zero = torch.zeros(SHAPE)
    assert estimate_clean(zero, torch.ones(SHAPE), ALPHA_BARS[[999]])[0, 0, 0, 0, 0].item() == pytest.approx(
        -14.6, abs=0.05
    )


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

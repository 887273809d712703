"""Adding noise and the one-step estimate, against the published numbers and against each other."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.forward_process import add_noise, estimate_clean
from latentsync.diffusion.schedule import make_scheduler
from tests.golden import golden_arrays, relative_error, rule_input

ALPHA_BARS = make_scheduler("ddim").alphas_cumprod
SHAPE = (1, 4, 4, 8, 8)


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

"""Sampling by a student: the boundary condition, the schedule, and the noise that is added again."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.consistency import ConsistencyScheduler, boundary_weights, consistent_estimate
from latentsync.diffusion.noise import add_noise, denoise_to
from latentsync.diffusion.schedule import make_scheduler
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from tests.golden import relative_error, rule_input

ALPHA_BARS = make_scheduler("ddim").alphas_cumprod
SHAPE = (2, 4, 3, 2, 2)


def _v(clean, noise, alpha_bar):
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean


def test_without_noise_the_estimate_is_the_input():
    noisy, predicted = rule_input("noisy", SHAPE), rule_input("predicted", SHAPE)
    levels = torch.tensor([0, 500])
    estimate = consistent_estimate(noisy, predicted, levels, ALPHA_BARS[levels])
    assert torch.equal(estimate[0], noisy[0])
    assert not torch.allclose(estimate[1], noisy[1])
    skip, out = boundary_weights(torch.tensor([10, 999]))
    assert skip.max() < 1e-4
    assert out.min() > 0.9999


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_perfect_prediction_gives_the_clean_latents_and_any_level_of_noise(prediction):
    clean, noise = rule_input("clean", SHAPE), rule_input("noise", SHAPE)
    levels = torch.tensor([300, 900])
    alpha_bar = ALPHA_BARS[levels]
    shaped = alpha_bar.view(-1, 1, 1, 1, 1)
    noisy = add_noise(clean, noise, alpha_bar)
    predicted = noise if prediction == "epsilon" else _v(clean, noise, shaped)
    assert relative_error(consistent_estimate(noisy, predicted, levels, alpha_bar, prediction), clean) < 1e-3
    lower = ALPHA_BARS[torch.tensor([100, 500])]
    expected = add_noise(clean, noise, lower)
    assert relative_error(denoise_to(noisy, predicted, alpha_bar, lower, prediction), expected) < 1e-5


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [((999, 400), 2, [999, 400]), ((999, 400), 1, [999]), ((800, 400), 4, [800, 600, 400, 200]), ((), 2, [999, 500])],
)
def test_a_schedule_is_gone_through_as_it_is_and_others_are_spread_below_its_first(schedule, steps, expected):
    scheduler = make_scheduler("consistency", schedule)
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == expected


def test_every_further_step_starts_from_the_estimate_with_the_first_noise():
    scheduler = ConsistencyScheduler(ALPHA_BARS, (999, 400), "epsilon")
    scheduler.set_timesteps(2)
    noise, first, second = (rule_input(name, SHAPE) for name in ("noise", "first", "second"))
    high, low = scheduler.timesteps
    between = scheduler.step(first, high, noise, return_dict=False)[0]
    estimate = consistent_estimate(noise, first, high.expand(1), ALPHA_BARS[high].expand(1))
    assert relative_error(between, add_noise(estimate, noise, ALPHA_BARS[low].expand(1))) < 1e-6
    result = scheduler.step(second, low, between, return_dict=False)[0]
    expected = consistent_estimate(between, second, low.expand(1), ALPHA_BARS[low].expand(1))
    assert relative_error(result, expected) < 1e-6


@pytest.mark.parametrize("timesteps", [(400, 999), (999, 999), (1000, 400), (999, 0)])
def test_a_schedule_that_does_not_go_down_is_refused(timesteps):
    with pytest.raises(ConfigError, match="schedule"):
        SamplerSettings("consistency", steps=2, guidance_scale=1.0, timesteps=timesteps)


def test_guidance_on_top_of_what_a_student_has_inside_is_refused():
    with pytest.raises(ConfigError, match="inside"):
        SamplerSettings("consistency", steps=2, guidance_scale=1.5)

"""Draw order and mixture of the noise, to the number."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.noise import mix_noise, mixed_noise, shared_noise
from tests.golden import golden_arrays, rule_input


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

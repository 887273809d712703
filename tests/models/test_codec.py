"""The latent codec against numbers of the published training step (a small autoencoder with the rule's weights)."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderTiny

from latentsync.models.codec import LatentCodec
from tests.golden import fill_by_rule, golden_arrays, relative_error, rule_input
from tests.models.networks import small_kl


def small_tiny() -> AutoencoderTiny:
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    return fill_by_rule(AutoencoderTiny(**blocks, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4))


@pytest.fixture(scope="module")
def codec() -> LatentCodec:
    return LatentCodec(small_kl())


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.tanh(rule_input("train_gt_pixels", (16, 3, 64, 64)))


@torch.no_grad()
def test_a_drawn_latent_is_the_published_one(codec, pixels):
    expected = torch.from_numpy(golden_arrays("codec/tiny_kl")["gt_latents"])[0].transpose(0, 1)
    assert relative_error(codec.encode(pixels, rule_input("train_vae_eps_gt", (16, 4, 8, 8))), expected) < 1e-5


@torch.no_grad()
def test_without_noise_the_latent_is_the_scaled_mode(codec, pixels):
    assert relative_error(codec.encode(pixels), 0.18215 * golden_arrays("codec/tiny_kl")["vae_mean_gt"]) < 1e-5


@torch.no_grad()
def test_decoded_pixels_are_the_published_ones(codec):
    expected = golden_arrays("codec/tiny_kl")
    latents = torch.from_numpy(expected["pred_x0_latents"])[0].transpose(0, 1)
    decoded = codec.decode(latents)
    assert decoded.shape == (16, 3, 64, 64)
    assert relative_error(decoded[0], expected["pred_pixels_frame0"]) < 1e-5
    assert relative_error(decoded[-1], expected["pred_pixels_last"]) < 1e-5


@torch.no_grad()
def test_a_scale_and_shift_in_the_autoencoder_s_own_configuration_are_overridden(codec, pixels):
    other = LatentCodec(small_kl(scaling_factor=0.5, shift_factor=0.25))
    latents = codec.encode(pixels[:2])
    assert torch.equal(other.encode(pixels[:2]), latents)
    assert torch.equal(other.decode(latents), codec.decode(latents))


@torch.no_grad()
def test_the_tiny_autoencoder_works_in_the_u_net_s_scale_already(pixels):
    tiny = small_tiny()
    codec = LatentCodec(tiny)
    latents = codec.encode(pixels[:2])
    assert latents.shape == (2, 4, 8, 8)
    assert torch.equal(latents, tiny.encode(pixels[:2]).latents)
    assert torch.equal(codec.encode(pixels[:2], torch.ones_like(latents)), latents)
    assert torch.equal(codec.decode(latents), tiny.decode(latents).sample)


@pytest.mark.parametrize("build", [small_kl, small_tiny])
@torch.no_grad()
def test_a_large_batch_is_worked_on_in_slices_with_the_same_result(build, pixels):
    whole, sliced = LatentCodec(build()), LatentCodec(build(), max_batch=3)
    batches = []
    sliced.autoencoder.encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    sliced.autoencoder.decoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    eps = rule_input("eps", (7, 4, 8, 8))
    latents = sliced.encode(pixels[:7], eps)
    torch.testing.assert_close(latents, whole.encode(pixels[:7], eps), rtol=0, atol=1e-5)
    torch.testing.assert_close(sliced.decode(latents), whole.decode(latents), rtol=0, atol=1e-5)
    assert batches == [3, 3, 1, 3, 3, 1]


@torch.no_grad()
def test_large_images_are_worked_on_few_at_a_time(monkeypatch, pixels):
    monkeypatch.setattr("latentsync.models.codec.MAX_PIXELS", 2 * pixels[0, 0].numel())
    codec, batches = LatentCodec(small_kl()), []
    codec.autoencoder.encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    codec.autoencoder.decoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    codec.decode(codec.encode(pixels[:5]))
    assert batches == [2, 2, 1, 2, 2, 1]


@torch.no_grad()
def test_a_processor_decodes_as_many_pixels_at_a_time_as_its_caches_hold(pixels):
    codec, batches = LatentCodec(small_kl()), []
    codec.autoencoder.decoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    codec.decode(torch.zeros(9, 4, 16, 16))
    assert batches == [4, 4, 1]


@torch.no_grad()
def test_results_come_back_in_the_dtype_of_the_input(pixels):
    codec = LatentCodec(small_tiny().to(torch.bfloat16))
    latents = codec.encode(pixels[:1])
    assert latents.dtype == codec.decode(latents).dtype == torch.float32


def test_gradients_reach_the_latents(codec):
    latents = rule_input("latents", (2, 4, 8, 8)).requires_grad_()
    codec.decode(latents).mean().backward()
    assert latents.grad.abs().sum() > 0


@torch.no_grad()
def test_the_posterior_is_what_encoding_draws_from(codec, pixels):
    mean, deviation = codec.posterior(pixels[:2])
    eps = rule_input("posterior_eps", (2, 4, 8, 8))
    assert relative_error(mean + deviation * eps, codec.encode(pixels[:2], eps)) < 1e-6
    assert torch.equal(mean, codec.encode(pixels[:2]))


@torch.no_grad()
def test_the_tiny_autoencoder_s_posterior_is_a_point(pixels):
    codec = LatentCodec(small_tiny())
    mean, deviation = codec.posterior(pixels[:2])
    assert torch.equal(mean, codec.encode(pixels[:2]))
    assert not deviation.any()

"""Latents of mean 0 and deviation 1 in the scale that the U-Net sees; the pictures stay as they were."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL

from latentsync.models.codec import LatentCodec
from latentsync.training.builtin.latent_scale import LatentMoments, standardised


def test_standardised_latents_and_equal_pictures():
    torch.manual_seed(0)
    original = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=6,
        norm_num_groups=4,
    ).eval()
    pictures = torch.rand(5, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        posterior = original.encode(pictures).latent_dist
        result = standardised(original, LatentMoments.of(posterior.mean))
        codec = LatentCodec(result)
        latents = codec.encode(pictures)
        assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-3)
        assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(6), atol=1e-3)
        restored = original.decode(posterior.mean).sample
        assert torch.allclose(codec.decode(latents), restored, atol=1e-4)
        mean, deviation = codec.posterior(pictures)
        scale = posterior.mean.std(dim=(0, 2, 3))
        assert torch.allclose(deviation, posterior.std / scale[:, None, None], rtol=1e-2)

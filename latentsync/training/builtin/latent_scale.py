"""Latents of mean 0 and deviation 1, which is what the noise schedule is made for, without a change to any loader.

C latent channels
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from latentsync.models.codec import KL_SCALE


@dataclass(frozen=True, slots=True)
class LatentMoments:
    """``mean`` and ``deviation`` (C,) of an autoencoder's latents over many pictures."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, latents: Tensor) -> LatentMoments:
        """Of latents (N, C, h, w)."""
        return cls(latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)).clamp_min(1e-6))


@torch.no_grad()
def standardised(autoencoder: AutoencoderKL, moments: LatentMoments) -> AutoencoderKL:
    """A copy that gives the same pictures back, with latents that have mean 0 and deviation 1 in each channel **after**
    ``LatentCodec`` has scaled them by Stable Diffusion's factor.

    The change is linear in each channel, so the 1 x 1 convolutions at the border of the latents take it in.
    """
    result = copy.deepcopy(autoencoder)
    mean = moments.mean.to(result.device)
    factor = (1 / KL_SCALE) / moments.deviation.to(result.device)
    into, out = result.quant_conv, result.post_quant_conv
    channels = len(mean)
    into.weight[:channels] *= factor[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) * factor
    into.bias[channels:] += 2 * factor.log()
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(dim=1)
    out.weight /= factor[None, :, None, None]
    return result

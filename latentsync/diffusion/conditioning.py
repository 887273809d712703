"""The images that condition the U-Net, and the only place that knows the order of its 3 C + 1 input channels (13 in
every release).

B windows · F frames · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.constants import LATENT_DOWNSCALE


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The image conditioning in latent space; one dtype and device for all tensors.

    ``keep_mask`` (B, 1, F, h, w), 1 = keep, 0 = generate; ``masked`` (B, C, F, h, w) latents of the masked faces;
    ``reference`` (B, C, F, h, w) latents of the reference faces, which show the identity.
    """

    keep_mask: Tensor
    masked: Tensor
    reference: Tensor


def build_unet_input(noisy: Tensor, conditioning: Conditioning) -> Tensor:
    """noisy latents (B, C, F, h, w) -> (B, 3 C + 1, F, h, w): noisy C, keep_mask 1, masked C, reference C."""
    return torch.cat([noisy, conditioning.keep_mask, conditioning.masked, conditioning.reference], dim=1)


def latent_mask(keep_mask: Tensor) -> Tensor:
    """A keep mask in pixels (..., R, R) -> in latent cells (..., h, w): each cell takes its top-left pixel."""
    return keep_mask[..., ::LATENT_DOWNSCALE, ::LATENT_DOWNSCALE]

"""The border between pixels and latents, and the only place that knows the scale of Stable Diffusion's latents."""

from __future__ import annotations

from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn


class LatentCodec(nn.Module):
    """pixels (N, 3, R, R) in [-1, 1] <-> latents (N, 4, R/8, R/8) in the scale that the U-Net works in."""

    def __init__(self, autoencoder: AutoencoderKL | AutoencoderTiny, max_batch: int = 16) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.max_batch = max_batch

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """pixels -> latents; ``eps`` (N, 4, h, w) standard normal draws from the posterior, None takes its mode."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """latents -> pixels, not clamped."""
        raise NotImplementedError

"""The denoiser: a Stable-Diffusion-1.x U-Net that hears (audio cross-attention) and sees time (motion modules)."""

from __future__ import annotations

from torch import Tensor, nn

from latentsync.models.unet_config import UNetConfig
from latentsync.types import FeatureCache

__all__ = ["UNet3D", "UNetConfig"]


class UNet3D(nn.Module):
    """Predicts the noise in a window of latents. State-dict names are those of releases 1.5 and 1.6."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of residual blocks, transformers and motion modules for the backward pass."""
        raise NotImplementedError

    def forward(
        self, sample: Tensor, timestep: Tensor, audio: Tensor | None, *, feature_cache: FeatureCache | None = None
    ) -> Tensor:
        """sample (B, 13, F, h, w), timestep () or (B,), audio (B, F, S, D) or (B*F, S, D) -> (B, 4, F, h, w)."""
        raise NotImplementedError

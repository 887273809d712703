"""Whether the mouth fits the audio, by a frozen StableSyncNet (arXiv 2412.09262, section 3.3).

B clips · F frames · C latent channels · R face side · h = w = R/8 · M mel frames · E embedding width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.models.syncnet import (
    StableSyncNet,
    cosine_similarity,
    select_latent_input,
    select_visual_input,
)


class PixelSyncLoss:
    """For a network on pixels: ``side`` pixels wide, the whole of them or the lower half. Freezes ``syncnet``."""

    def __init__(self, syncnet: StableSyncNet, side: int = 256, lower_half: bool = True) -> None:
        self._syncnet = syncnet.eval().requires_grad_(False)
        self._side = side
        self._lower_half = lower_half

    def __call__(self, pixels: Tensor, mel: Tensor) -> Tensor:
        """pixels (B, F, 3, R, R) in [-1, 1], mel (B, 1, 80, M) in [-4, 4] -> loss of each clip (B,), float32."""
        return _misfit(self._syncnet, select_visual_input(pixels, self._side, self._lower_half), mel)


class LatentSyncLoss:
    """For a network on latents, all of them or the lower half. Freezes ``syncnet``."""

    def __init__(self, syncnet: StableSyncNet, lower_half: bool = False) -> None:
        self._syncnet = syncnet.eval().requires_grad_(False)
        self._lower_half = lower_half

    def __call__(self, latents: Tensor, mel: Tensor) -> Tensor:
        """latents (B, C, F, h, w) in the U-Net's scale, mel (B, 1, 80, M) in [-4, 4] -> loss of each clip (B,),
        float32."""
        return _misfit(self._syncnet, select_latent_input(latents.transpose(1, 2), self._lower_half), mel)


def _misfit(syncnet: StableSyncNet, visual: Tensor, mel: Tensor) -> Tensor:
    """Binary cross-entropy of the cosine against 1, that is -log of it, at most 100: (B,)."""
    dtype = next(syncnet.parameters()).dtype
    cosine = cosine_similarity(*syncnet(visual.to(dtype), mel.to(dtype)))
    return F.binary_cross_entropy(cosine, torch.ones_like(cosine), reduction="none")

"""TREPA: how near a video encoder finds a generated clip to the real one (arXiv 2412.09262, eq. 7).

B clips · F frames · R face side · D feature width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.models.videomae import VideoMAE


class TrepaLoss:
    """Takes a video encoder and freezes it."""

    def __init__(self, encoder: VideoMAE) -> None:
        self._encoder = encoder.eval().requires_grad_(False)

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """predicted and target (B, F, 3, R, R) in [-1, 1] -> loss of each clip (B,), float32.

        The mean squared difference of the two features at unit length, so |a - b|^2 / D.
        """
        with torch.no_grad():
            wanted = self._feature(target)
        return (self._feature(predicted) - wanted).square().mean(dim=1)

    def _feature(self, pixels: Tensor) -> Tensor:
        """(B, D) float32 of unit length."""
        dtype = next(self._encoder.parameters()).dtype
        features = self._encoder(encoder_input(pixels, self._encoder.config.image_size).to(dtype))
        return F.normalize(features.float(), dim=1)


def encoder_input(pixels: Tensor, side: int) -> Tensor:
    """Faces (B, F, 3, R, R) in [-1, 1] -> clips (B, 3, F, side, side) in [0, 1].

    Bicubic without antialiasing, and without ImageNet's mean and deviation, as published.
    """
    faces = F.interpolate(pixels.flatten(0, 1).float(), size=(side, side), mode="bicubic")
    return (faces / 2 + 0.5).clamp(0, 1).unflatten(0, pixels.shape[:2]).transpose(1, 2)

"""The noise that generation starts from and that training adds.

B clips · F frames · C latent channels (4 in every release) · h, w latent cells. Drawn in float32 on the
generator's own device, so a generator on the CPU gives the same noise for every device; moving the result is the
caller's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentsync.constants import LATENT_CHANNELS


def shared_noise(
    generator: torch.Generator, batch: int, frames: int, height: int, width: int, channels: int = LATENT_CHANNELS
) -> Tensor:
    """One Gaussian frame for all frames of all clips, as the published pipeline starts from: (B, C, F, h, w), a view.

    A single (1, C, 1, h, w) draw. One draw serves a whole video: draw once and keep it for every window.
    """
    frame = _gaussian(generator, 1, channels, 1, height, width)
    return frame.expand(batch, -1, frames, -1, -1)


def mixed_noise(
    generator: torch.Generator,
    batch: int,
    frames: int,
    height: int,
    width: int,
    alpha: float = 1.0,
    channels: int = LATENT_CHANNELS,
) -> Tensor:
    """Noise of unit variance that the frames of a clip have partly in common: (B, C, F, h, w), see ``mix_noise``.

    Draws the shared frame of each clip (B, C, 1, h, w) first, then the independent part (B, C, F, h, w).
    """
    shared = _gaussian(generator, batch, channels, 1, height, width)
    independent = _gaussian(generator, batch, channels, frames, height, width)
    return mix_noise(shared, independent, alpha)


def mix_noise(shared: Tensor, independent: Tensor, alpha: float) -> Tensor:
    """Mixed noise of PYoCo (Ge et al. 2023): the shared part has alpha^2 times the variance of the independent one.

    shared (B, C, 1, h, w), independent (B, C, F, h, w), both of unit variance -> (B, C, F, h, w) of unit variance.
    """
    power = alpha**2
    return (power / (1 + power)) ** 0.5 * shared + (1 / (1 + power)) ** 0.5 * independent


def _gaussian(generator: torch.Generator, batch: int, channels: int, frames: int, height: int, width: int) -> Tensor:
    shape = (batch, channels, frames, height, width)
    return torch.randn(shape, generator=generator, device=generator.device)

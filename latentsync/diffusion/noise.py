"""Noise: drawn for generation and training, added to latents, and taken out again; and what a loss weighs at each level
of it.

B clips · F frames · C latent channels (4 in every release) · h, w latent cells. Noise is drawn in float32 on the
generator's own device, so a generator on the CPU gives the same noise for every device; the caller moves the result.
``alpha_bar`` (B,) is the share of the clean latents' variance that is left at each clip's time step:
``make_scheduler("ddim").alphas_cumprod[timesteps]`` (Song et al. 2020, arXiv 2010.02502).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from latentsync.constants import LATENT_CHANNELS
from latentsync.errors import ConfigError

# What a network predicts: the noise, as every published one, or v (Salimans and Ho 2022, arXiv 2202.00512).
Prediction = Literal["epsilon", "v"]
LevelWeighting = Literal["uniform", "alpha_bar", "min_snr", "velocity"]

_MIN_SNR_GAMMA = 5.0  # signal-to-noise ratio above which the weight does not grow (Hang et al. 2023)


def shared_noise(
    generator: torch.Generator, batch: int, frames: int, height: int, width: int, channels: int = LATENT_CHANNELS
) -> Tensor:
    """The noise that the published pipeline starts from: one Gaussian frame for all frames of all clips.

    (B, C, F, h, w), a view of a single (1, C, 1, h, w) draw. One draw is enough for a whole video: keep it for every
    window.
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
    """(B, C, F, h, w): noise of unit variance that the frames of a clip partly share, see ``mix_noise``.

    Draws the shared frame of each clip (B, C, 1, h, w) first, then the independent part (B, C, F, h, w).
    """
    shared = _gaussian(generator, batch, channels, 1, height, width)
    independent = _gaussian(generator, batch, channels, frames, height, width)
    return mix_noise(shared, independent, alpha)


def mix_noise(shared: Tensor, independent: Tensor, alpha: float) -> Tensor:
    """Mixed noise of PYoCo (Ge et al. 2023): the shared part has alpha^2 times the variance of the independent part.

    shared (B, C, 1, h, w), independent (B, C, F, h, w), both of unit variance -> (B, C, F, h, w) of unit variance.
    """
    power = alpha**2
    return (power / (1 + power)) ** 0.5 * shared + (1 / (1 + power)) ** 0.5 * independent


def _gaussian(generator: torch.Generator, batch: int, channels: int, frames: int, height: int, width: int) -> Tensor:
    shape = (batch, channels, frames, height, width)
    return torch.randn(shape, generator=generator, device=generator.device)


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Clean latents and noise (B, C, F, h, w) -> noisy latents."""
    signal, spread = _amplitudes(alpha_bar, clean.ndim)
    return signal * clean + spread * noise


def estimate_clean(noisy: Tensor, predicted: Tensor, alpha_bar: Tensor, prediction: Prediction = "epsilon") -> Tensor:
    """Noisy latents and what is ``predicted`` of them (B, C, F, h, w) -> clean latents, in one step and not clamped.

    An error of predicted noise is multiplied by sqrt(1 / alpha_bar - 1): 14.6 times at the noisiest step.
    """
    signal, spread = _amplitudes(alpha_bar, noisy.ndim)
    if prediction == "v":
        return signal * noisy - spread * predicted
    return (noisy - spread * predicted) / signal


def denoise_to(
    noisy: Tensor, predicted: Tensor, alpha_bar: Tensor, target_alpha_bar: Tensor, prediction: Prediction = "epsilon"
) -> Tensor:
    """Noisy latents and what is ``predicted`` of them (B, C, F, h, w) -> latents with the noise of ``target_alpha_bar``
    (B,): a step of DDIM (Song et al. 2020, eq. 12 with sigma 0)."""
    signal, spread = _amplitudes(alpha_bar, noisy.ndim)
    noise = signal * predicted + spread * noisy if prediction == "v" else predicted
    return add_noise(estimate_clean(noisy, predicted, alpha_bar, prediction), noise, target_alpha_bar)


def _amplitudes(alpha_bar: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Of signal and noise, (B, 1, ..., 1)."""
    alpha_bar = alpha_bar.view(-1, *[1] * (ndim - 1))
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def level_weights(alpha_bars: Tensor, weighting: LevelWeighting) -> Tensor:
    """Weights (T,) of the T training steps with ``alpha_bars`` (T,), the share of signal that is left; their mean is 1.

    - ``uniform``: as published, every step the same;
    - ``alpha_bar``: in proportion to alpha_bar;
    - ``min_snr``: in proportion to the signal-to-noise ratio, at most 5 (Hang et al. 2023, arXiv 2303.09556, for a
      prediction of x0);
    - ``velocity``: in proportion to 1 / alpha_bar, which makes an error of the noise count as one of the velocity does
      in a network that predicts that (Salimans and Ho 2022, arXiv 2202.00512, section 4). For the reconstruction loss.

    The one-step estimate (``estimate_clean``) of a very noisy window is a blur, and the gradient of a face loss on a
    blur is of little use. The error of the noise is another matter: the same error is, at the last level of the
    published schedule, one of 15 times its size in the estimate, and what a sampler takes from there is color and
    light.

    Raises ``ConfigError`` for any other name.
    """
    if weighting == "uniform":
        weights = torch.ones_like(alpha_bars)
    elif weighting == "alpha_bar":
        weights = alpha_bars
    elif weighting == "min_snr":
        weights = (alpha_bars / (1 - alpha_bars)).clamp(max=_MIN_SNR_GAMMA)
    elif weighting == "velocity":
        weights = 1 / alpha_bars
    else:
        raise ConfigError(
            f"There is no weighting of noise levels '{weighting}'.",
            remedy=f"Choose one of {', '.join(get_args(LevelWeighting))}.",
        )
    return weights / weights.mean()

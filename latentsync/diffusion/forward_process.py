"""Adding noise to latents, and the clean latents that a noise prediction implies (Song et al. 2020, arXiv 2010.02502).

B clips · F frames · h, w latent cells. ``alpha_bar`` (B,) is the share of the clean latents' variance that is left at
each clip's time step: ``make_scheduler("ddim").alphas_cumprod[timesteps]``.
"""

from __future__ import annotations

from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Clean latents and noise (B, 4, F, h, w) -> noisy latents."""
    signal, spread = _amplitudes(alpha_bar, clean.ndim)
    return signal * clean + spread * noise


def estimate_clean(noisy: Tensor, predicted_noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Noisy latents and the noise seen in them (B, 4, F, h, w) -> clean latents, in one step and not clamped.

    An error in the noise comes back enlarged by sqrt(1 / alpha_bar - 1): 14.6 times at the noisiest step.
    """
    signal, spread = _amplitudes(alpha_bar, noisy.ndim)
    return (noisy - spread * predicted_noise) / signal


def _amplitudes(alpha_bar: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Of signal and noise, (B, 1, ..., 1)."""
    alpha_bar = alpha_bar.view(-1, *[1] * (ndim - 1))
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

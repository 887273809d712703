"""How well the noise was predicted.

B clips · F frames · h, w latent cells
"""

from __future__ import annotations

from torch import Tensor


def noise_loss(predicted: Tensor, noise: Tensor, keep_mask: Tensor, kept_weight: float = 1.0) -> Tensor:
    """Scalar mean squared error of noise (B, 4, F, h, w), float32 (Ho et al. 2020, arXiv 2006.11239, eq. 14).

    With ``kept_weight`` 1, as published, every cell counts the same. Below 1, the cells that ``keep_mask``
    (B, 1, F, h, w; 1 = keep, 0 = generate) keeps, which are thrown away in the result, count by that much less; the
    mean is over the weights, so the loss keeps its scale.
    """
    error = (predicted.float() - noise.float()).square()
    weight = (1 - (1 - kept_weight) * keep_mask.float()).expand_as(error)
    return (weight * error).sum() / weight.sum()

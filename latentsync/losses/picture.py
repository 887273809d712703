"""How well an autoencoder gives a picture back.

N pictures · R face side
"""

from __future__ import annotations

from torch import Tensor


def image_loss(restored: Tensor, pictures: Tensor, weight: Tensor, edges: float) -> Tensor:
    """Scalar: mean absolute error of (N, 3, R, R) in [-1, 1], plus ``edges`` times that of the differences between
    neighbouring pixels, which a blur loses first (Mathieu et al. 2016, arXiv 1511.05440, section 3.2).

    ``weight`` (1, R, R) says how much each pixel counts; the loss keeps its scale whatever the weights.
    """
    error = restored - pictures
    loss = _weighted(error.abs(), weight)
    across = _weighted((error[..., 1:] - error[..., :-1]).abs(), weight[..., 1:])
    down = _weighted((error[..., 1:, :] - error[..., :-1, :]).abs(), weight[..., 1:, :])
    return loss + edges * (across + down)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Scalar: Kullback-Leibler divergence, nats per latent value, of normal distributions from the standard one
    (Kingma and Welling 2014, arXiv 1312.6114, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).mean() / weight.mean()

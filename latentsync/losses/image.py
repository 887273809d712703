"""Losses on single images: how well an autoencoder gives one back, and how alike two faces look.

N images · B clips · F frames · R face side
"""

from __future__ import annotations

from lpips import LPIPS
from torch import Tensor

from latentsync.models.lpips import perceptual_distance


def image_loss(reconstruction: Tensor, images: Tensor, weight: Tensor, edges: float) -> Tensor:
    """Scalar: mean absolute error of (N, 3, R, R) in [-1, 1], plus ``edges`` times that of the differences between
    neighbouring pixels, which a blur loses first (Mathieu et al. 2016, arXiv 1511.05440, section 3.2).

    ``weight`` (1, R, R) says how much each pixel counts; the loss keeps its scale whatever the weights.
    """
    error = reconstruction - images
    loss = _weighted(error.abs(), weight)
    across = _weighted((error[..., 1:] - error[..., :-1]).abs(), weight[..., 1:])
    down = _weighted((error[..., 1:, :] - error[..., :-1, :]).abs(), weight[..., 1:, :])
    return loss + edges * (across + down)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Scalar: Kullback-Leibler divergence, nats per latent value, of normal distributions from the standard one
    (Kingma and Welling 2014, arXiv 1312.6114, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class PerceptualLoss:
    """LPIPS of the lower halves of faces. Takes the network of ``checkpoint.load_lpips`` and freezes it."""

    def __init__(self, network: LPIPS) -> None:
        self._network = network.eval().requires_grad_(False)

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """predicted and target (B, F, 3, R, R) in [-1, 1] -> mean over the frames of each clip (B,), float32."""
        lower = (faces[..., faces.shape[-2] // 2 :, :] for faces in (predicted, target))
        return perceptual_distance(self._network, *lower).mean(dim=1)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).mean() / weight.mean()

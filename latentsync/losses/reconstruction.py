"""How near a prediction is to what it should be: noise, latents, images and the looks of faces.

N images · B clips · F frames · R face side · h, w latent cells
"""

from __future__ import annotations

from lpips import LPIPS
from torch import Tensor

from latentsync.models.lpips import perceptual_distance

# Below this error the distance is quadratic. In half precision smaller ones are rounding, whose signs teach nothing.
_HUBER = 0.03


def noise_loss(
    predicted: Tensor,
    noise: Tensor,
    keep_mask: Tensor,
    kept_weight: float = 1.0,
    level_weight: Tensor | None = None,
) -> Tensor:
    """Scalar mean squared error of noise (B, 4, F, h, w), float32 (Ho et al. 2020, arXiv 2006.11239, eq. 14).

    With ``kept_weight`` 1, as published, every cell counts the same. Below 1, the cells that ``keep_mask``
    (B, 1, F, h, w; 1 = keep, 0 = generate) keeps, which are thrown away in the result, count by that much less; the
    mean is over the weights, so the loss keeps its scale. ``level_weight`` (B,) is a factor of each clip's error.
    """
    error = (predicted.float() - noise.float()).square()
    if level_weight is not None:
        error = error * level_weight[:, None, None, None, None]
    return _mean_by_mask(error, keep_mask, kept_weight)


def latent_distance(latents: Tensor, target: Tensor, keep_mask: Tensor, kept_weight: float = 1.0) -> Tensor:
    """Scalar pseudo-Huber distance of latents (B, C, F, h, w), float32: nearly the mean absolute error, and smooth
    where they agree, as for consistency models (Song and Dhariwal 2023, arXiv 2310.14189, section 3.3). Masks as
    above."""
    squared = (latents.float() - target.float()).square()
    return _mean_by_mask((squared + _HUBER**2).sqrt() - _HUBER, keep_mask, kept_weight)


def movement_loss(latents: Tensor, target: Tensor, keep_mask: Tensor) -> Tensor:
    """(B,) mean absolute error of the changes from frame to frame of ``latents`` (B, 4, F, h, w) against those of
    ``target``, in the cells that ``keep_mask`` (B, 1, F, h, w; 1 = keep, 0 = generate) leaves to be generated.

    An error that stays the same costs nothing: single frames are left to the other losses. Noise of ``s`` in every
    frame costs more the more its sign changes. Unlike TREPA (arXiv 2412.09262, eq. 7) this needs no network, and so no
    pixels. Not in the paper. Raises ``ValueError`` for a single frame.
    """
    if latents.shape[2] < 2:
        raise ValueError("the movement of a single frame")
    error = (latents.float() - target.float()).diff(dim=2).abs()
    hole = (1 - keep_mask[:, :, 1:].float()).expand_as(error)
    return (hole * error).flatten(1).sum(1) / hole.flatten(1).sum(1)


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


def _mean_by_mask(error: Tensor, keep_mask: Tensor, kept_weight: float) -> Tensor:
    weight = (1 - (1 - kept_weight) * keep_mask.float()).expand_as(error)
    return (weight * error).sum() / weight.sum()


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).mean() / weight.mean()

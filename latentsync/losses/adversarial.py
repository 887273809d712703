"""Losses by a discriminator that is trained along: what makes decoded images sharp where their error alone would blur
them (VQGAN: Esser et al. 2021, arXiv 2012.09841, section 3.1; Stable Diffusion's codec was trained so).

N images · R side · h, w patches
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, relu

LARGEST_FACTOR = 20.0  # of the adversarial loss: where it hardly reaches the last layer its gradient would be noise


def discriminator_loss(real: Tensor, decoded: Tensor, weight: Tensor) -> Tensor:
    """Scalar hinge loss of scores (N, 1, h, w) of real and decoded images (Lim and Ye 2017, arXiv 1705.02894).

    ``weight`` (1, R, R) says how much each pixel counts, and so each patch.
    """
    return 0.5 * (_mean(relu(1 - real), weight) + _mean(relu(1 + decoded), weight))


def adversarial_loss(decoded: Tensor, weight: Tensor) -> Tensor:
    """Scalar: how far the scores (N, 1, h, w) of decoded images are from real; ``weight`` as above."""
    return -_mean(decoded, weight)


def feature_loss(real: Sequence[Tensor], decoded: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Scalar mean over the layers of a discriminator of the absolute differences of its features, each layer over the
    size of the real ones (after Wang et al. 2018, arXiv 1711.11585, section 3.2): details that are there count,
    wherever in a patch they lie. ``weight`` as above."""
    terms = []
    for one, other in zip(real, decoded, strict=True):
        difference = (one.detach() - other).abs().mean(dim=1, keepdim=True)
        terms.append(_mean(difference, weight) / one.detach().abs().mean().clamp_min(1e-4))
    return torch.stack(terms).mean()


def adaptive_factor(error: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """Scalar: the ratio of the gradients that two losses send to the weights of the last layer, detached and at most
    ``LARGEST_FACTOR`` (VQGAN, equation 7): with it both pull equally hard, whatever their scales. 1 where no gradients
    are computed."""
    if not adversarial.requires_grad:
        return torch.ones_like(adversarial)
    (of_error,), (of_adversarial,) = (
        torch.autograd.grad(loss, [last], retain_graph=True) for loss in (error, adversarial)
    )
    return (of_error.norm() / (of_adversarial.norm() + 1e-4)).clamp(max=LARGEST_FACTOR).detach()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Of values (N, 1, h, w), by the weights of the pixels that they stand for."""
    patches = adaptive_avg_pool2d(weight[None], (values.shape[-2], values.shape[-1]))
    return (values * patches).mean() / patches.mean()

"""A patch discriminator: says of every patch of an image whether it is real or was decoded from latents.

N images · R side · h, w patches
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of the activations below 0
_KERNEL = 4  # of the convolutions that halve the image


@dataclass(frozen=True, slots=True)
class Verdicts:
    """``scores`` (N, 1, h, w): above 0 = real. ``features``: what each layer saw, for a loss that compares them."""

    scores: Tensor
    features: tuple[Tensor, ...]


class PatchDiscriminator(nn.Module):
    """Convolutions that halve the image ``levels`` times, from ``width`` channels on, and a score for each of what is
    then a pixel (Isola et al. 2017, arXiv 1611.07004, section 3.2.2).

    With three levels a score looks at 38 pixels. The weights have spectral norm 1, so that scores cannot jump (Miyato
    et al. 2018, arXiv 1802.05957); there is no norm over a batch, which would have few images to go by. Images are
    judged in single precision.
    """

    def __init__(self, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        widths = [3, *(width * 2**level for level in range(levels))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(entering, leaving, _KERNEL, stride=2, padding=1))
            for entering, leaving in zip(widths, widths[1:], strict=False)
        )
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Tensor) -> Verdicts:
        """images (N, 3, R, R) in [-1, 1]."""
        with torch.autocast(images.device.type, enabled=False):
            hidden = images.float()
            features = []
            for layer in self.layers:
                hidden = leaky_relu(layer(hidden), SLOPE)
                features.append(hidden)
            return Verdicts(self.score(hidden), tuple(features))


class Frozen:
    """A context in which the weights of ``network`` are constants: what is computed with them sends gradients to its
    input only."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __enter__(self) -> None:
        self._network.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        self._network.requires_grad_(True)

"""LPIPS on VGG-16 features (Zhang et al. 2018, arXiv 1801.03924), as the lpips package builds it, without its files.

H, W image side, pixels; the dimensions before the three channels are a batch of any shape
"""

from __future__ import annotations

import warnings

from lpips import LPIPS
from torch import Tensor


def build_lpips() -> LPIPS:
    """The network in eval mode with weights that are still to be loaded (``checkpoint.load_lpips``)."""
    with warnings.catch_warnings():  # lpips calls torchvision by argument names that it has renamed since
        warnings.filterwarnings("ignore", message=".*deprecated since 0.13", category=UserWarning)
        return LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)


def perceptual_distance(network: LPIPS, first: Tensor, second: Tensor) -> Tensor:
    """The distance of each pair of images: two (..., 3, H, W) in [-1, 1] -> (...) float32; 0 for equal images.

    Both sides of an image must have at least 16 pixels.
    """
    flat = (images.flatten(0, -4).float() for images in (first, second))
    return network(*flat).view(first.shape[:-3])

"""LPIPS on VGG-16 features (Zhang et al. 2018, arXiv 1801.03924), as the lpips package builds it, without its files."""

from __future__ import annotations

import warnings

from lpips import LPIPS


def build_lpips() -> LPIPS:
    """The network in eval mode with weights that are still to be loaded (``checkpoint.load_lpips``).

    ``forward(a, b)``: pictures (N, 3, H, W) in [-1, 1], both sides at least 16 pixels -> distances (N, 1, 1, 1).
    """
    with warnings.catch_warnings():  # lpips calls torchvision by argument names that it has renamed since
        warnings.filterwarnings("ignore", message=".*deprecated since 0.13", category=UserWarning)
        return LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)

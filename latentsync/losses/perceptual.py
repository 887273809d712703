"""How alike the lower halves of two faces look (LPIPS, Zhang et al. 2018, arXiv 1801.03924).

B clips · F frames · R face side
"""

from __future__ import annotations

from lpips import LPIPS
from torch import Tensor


class PerceptualLoss:
    """Takes the network of ``checkpoint.load_lpips`` and freezes it."""

    def __init__(self, network: LPIPS) -> None:
        self._network = network.eval().requires_grad_(False)

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """predicted and target (B, F, 3, R, R) in [-1, 1] -> mean over the frames of each clip (B,), float32."""
        lower = (faces[..., faces.shape[-2] // 2 :, :].flatten(0, 1).float() for faces in (predicted, target))
        return self._network(*lower).view(predicted.shape[:2]).mean(dim=1)

"""LPIPS (Zhang et al. 2018) of a part of the picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


@torch.inference_mode()
def lpips_distance(
    network: nn.Module, prediction: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None
) -> float:
    """Mean over (N, H, W, 3) uint8 RGB pictures; 0 for equal ones.

    ``network``: ``checkpoint.load_lpips`` (VGG-16). ``region`` (H, W) weights in [0, 1]: outside it both pictures are
    the reference, so that only differences inside count; the value is still that of the whole picture, and so grows
    with the region. Raises ``ValueError`` for different shapes.
    """
    if prediction.shape != reference.shape or prediction.ndim != 4:
        raise ValueError(f"pictures must both be (N, H, W, 3), not {prediction.shape} and {reference.shape}")
    device = next(network.parameters()).device
    weights = None if region is None else torch.from_numpy(region.astype(np.float32)).to(device)
    distances = []
    for mine, true in zip(prediction, reference, strict=True):
        a, b = (torch.from_numpy(x).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (mine, true))
        a = a if weights is None else torch.lerp(b, a, weights)
        distances.append(float(network(a, b)))
    return float(np.mean(distances))

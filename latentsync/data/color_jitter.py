"""Other light and other skin for the pictures of a training window, so that few people teach a network about many."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def jitter_colors(pictures: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Pictures (F, 3, H, W) uint8 RGB under another light, the same for all F: (F, 3, H, W) uint8.

    Every value v in [0, 1] becomes ``gain * v ** gamma``, cut at 1. Logarithms are normally distributed around 0: of
    ``gamma`` with deviation ``strength``; of ``gain`` with ``strength`` too, plus half as much by channel.

    A table for each channel takes a quarter of the time of torchvision's ``adjust_gamma``, to which it is equal to one
    level.
    """
    gamma = np.exp(strength * rng.standard_normal())
    gain = np.exp(strength * (rng.standard_normal() + 0.5 * rng.standard_normal(3)))
    values = gain[:, None] * (np.arange(256) / 255) ** gamma
    tables = (values.clip(0, 1) * 255).round().astype(np.uint8)
    result = np.empty(pictures.shape, np.uint8)
    for channel, table in enumerate(tables):
        plane = pictures[:, channel].contiguous().numpy()
        result[:, channel] = cv2.LUT(plane.reshape(len(plane), -1), table).reshape(plane.shape)
    return torch.from_numpy(result)

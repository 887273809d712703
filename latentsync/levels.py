"""Grey levels, 0 to 255, and the range [-1, 1] in which networks see and give images: there and back.

``value = level / 127.5 - 1``. Everything is float32; the 256 levels come back exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_HALF = np.float32(127.5)
_PER_LEVEL = np.float32(1 / 127.5)


def normalize(levels: Tensor) -> Tensor:
    """Grey levels of any shape and dtype -> float32 in [-1, 1], on the same device."""
    return levels.float() / 127.5 - 1


def normalize_canvas(levels: np.ndarray) -> np.ndarray:
    """Float32 grey levels, which need not be whole -> float32 in [-1, 1].

    A product, which is quicker than the division of ``normalize`` and differs from it in the last bit at some levels.
    """
    return levels * _PER_LEVEL - 1


def denormalize_canvas(canvas: np.ndarray) -> np.ndarray:
    """Float32 in [-1, 1] -> float32 grey levels, neither rounded nor limited."""
    return (canvas + 1) * _HALF


def to_image(canvas: np.ndarray) -> np.ndarray:
    """(..., 3, H, W) float32 -> (..., H, W, 3) uint8: the nearest level; what lies beyond [-1, 1] is cut."""
    return np.rint(np.clip(denormalize_canvas(np.moveaxis(canvas, -3, -1)), 0, 255)).astype(np.uint8)

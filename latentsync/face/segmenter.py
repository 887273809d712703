"""Networks of the user's that find things before a face: an ONNX file, or a TorchScript archive.

A network gets one aligned face, (1, 3, R, R) float32 in [-1, 1], and gives one map with values from 0 to 1, where 1 =
something is before the face; of any size, with leading dimensions of 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from latentsync.errors import ConfigError
from latentsync.face.user_network import SUFFIXES, read_network

__all__ = ["SUFFIXES", "Segmenter", "load_segmenter"]


class Segmenter(Protocol):
    """Finds what is before one face."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(3, R, R) float32 in [-1, 1] -> (h, w) float32 in [0, 1]; 1 = something is before the face."""
        ...


def load_segmenter(path: Path) -> Segmenter:
    """From an ONNX file (run by OpenCV) or a TorchScript archive, by the suffix; on the CPU.

    Raises ``ConfigError`` if there is no such file, ``WeightsCorruptError`` if it cannot be read.
    """
    network = read_network(path, "use --occlusion auto or off")
    return lambda pixels: _as_map(network(pixels[None]), path)


def _as_map(output: np.ndarray, path: Path) -> np.ndarray:
    is_map = output.ndim >= 2 and output.size == np.prod(output.shape[-2:])
    if not is_map or not np.isfinite(output).all():
        raise ConfigError(
            f"The network {path} gives {output.shape} instead of one map of finite values.",
            remedy="The module latentsync/face/segmenter.py says what is expected.",
        )
    return np.clip(output.reshape(output.shape[-2:]).astype(np.float32), 0, 1)

"""Networks of the user's that find things before a face: an ONNX file, or a TorchScript archive.

A network gets one aligned face, (1, 3, R, R) float32 in [-1, 1], and gives one map with values from 0 to 1, where 1 =
something is before the face; of any size, with leading dimensions of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from latentsync.errors import ConfigError, WeightsCorruptError

SUFFIXES = (".onnx", ".pt", ".pth", ".ts")


class Segmenter(Protocol):
    """Finds what is before one face."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(3, R, R) float32 in [-1, 1] -> (h, w) float32 in [0, 1]; 1 = something is before the face."""
        ...


def load_segmenter(path: Path) -> Segmenter:
    """From an ONNX file (run by OpenCV) or a TorchScript archive, by the suffix; on the CPU.

    Raises ``ConfigError`` if there is no such file, ``WeightsCorruptError`` if it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"There is no network {path}.", remedy="Check the path, or use --occlusion auto or off.")
    read = _onnx if path.suffix.lower() == ".onnx" else _torchscript
    try:
        network = read(path)
    except (cv2.error, RuntimeError, ValueError, OSError) as error:
        raise WeightsCorruptError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a network: {str(error).splitlines()[0]}",
            remedy="Export it as ONNX, or by torch.jit.save; or use --occlusion auto or off.",
        ) from error
    return lambda pixels: _as_map(network(pixels[None]), path)


def _onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    network = cv2.dnn.readNetFromONNX(str(path))

    def run(batch: np.ndarray) -> np.ndarray:
        network.setInput(batch)
        return np.asarray(network.forward())

    return run


def _torchscript(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import torch  # late: what finds things without a network does without

    network = torch.jit.load(str(path), map_location="cpu").eval()

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(batch))).float().numpy()

    return run


def _as_map(output: np.ndarray, path: Path) -> np.ndarray:
    is_map = output.ndim >= 2 and output.size == np.prod(output.shape[-2:])
    if not is_map or not np.isfinite(output).all():
        raise ConfigError(
            f"The network {path} gives {output.shape} instead of one map of finite values.",
            remedy="The module latentsync/face/segmenter.py says what is expected.",
        )
    return np.clip(output.reshape(output.shape[-2:]).astype(np.float32), 0, 1)

"""Networks about faces that users bring: an ONNX file, run by OpenCV, or a TorchScript archive; on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import ConfigError, WeightsCorruptError

SUFFIXES = (".onnx", ".pt", ".pth", ".ts")


def read_network(path: Path, otherwise: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from one batch (n, ...) float32 to the network's output, by the suffix of the file.

    ``otherwise``: what a user can do without it, for the remedy. Raises ``ConfigError`` if there is no such file,
    ``WeightsCorruptError`` if it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"There is no network {path}.", remedy=f"Check the path, or {otherwise}.")
    read = _onnx if path.suffix.lower() == ".onnx" else _torchscript
    try:
        return read(path)
    except (cv2.error, RuntimeError, ValueError, OSError) as error:
        raise WeightsCorruptError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a network: {str(error).splitlines()[0]}",
            remedy=f"Export it as ONNX, or by torch.jit.save; or {otherwise}.",
        ) from error


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

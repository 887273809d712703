"""Networks about faces that users bring: an ONNX file, run by OpenCV, or a TorchScript archive; on the CPU. None comes
with this package.

A segmenter (``--occlusion``) finds things before a face. It gets one aligned face, (1, 3, R, R) float32 in [-1, 1],
and gives one map with values from 0 to 1, where 1 = something is before the face; of any size, with leading dimensions
of 1.

A face network (``--face_network``) knows faces again. One of the usual kind gets one face, (1, 3, 112, 112) float32
RGB in [-1, 1], with eyes, nose and corners of the mouth in the places below, and gives one vector, (1, D); its length
does not count. Two faces are of one person if the cosine of their vectors is at least ``SAME_PERSON``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from latentsync.checkpoint.files import sha256_file
from latentsync.errors import ConfigError, WeightsCorruptError
from latentsync.face.box import pixels_in_box, transformed_box
from latentsync.face.similarity import invert
from latentsync.types import Frame

SUFFIXES = (".onnx", ".pt", ".pth", ".ts")
SIDE = 112  # px
SAME_PERSON = 0.35  # cosine
# Left eye, right eye, tip of the nose, left and right corner of the mouth, px: the places that are usual for 112 x 112.
_PLACES = np.array([(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)])


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
            remedy="The module latentsync/face/user_network.py says what is expected.",
        )
    return np.clip(output.reshape(output.shape[-2:]).astype(np.float32), 0, 1)


class FaceNetwork:
    """A ``face.appearance.FaceEmbedder``: the vectors of a network, of unit length.

    From an ONNX file or a TorchScript archive. Raises ``ConfigError`` and ``WeightsCorruptError``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._network = read_network(path, "leave out --face_network")
        self.name = f"network {sha256_file(path)}"

    def embed(self, frame: Frame, faces: Sequence[np.ndarray], beside: Sequence[np.ndarray] = ()) -> np.ndarray:
        """See ``FaceEmbedder``. Raises ``ConfigError`` if the network gives no vector of finite numbers."""
        vectors = [self._vector(_upright_face(frame, landmarks)) for landmarks in faces]
        return np.array(vectors, np.float32).reshape(len(faces), -1)

    def differences(self, looks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """See ``FaceEmbedder``."""
        cosine = looks.astype(np.float64) @ others.astype(np.float64).T
        return np.sqrt(np.maximum(2 - 2 * cosine, 0) / (2 - 2 * SAME_PERSON))

    def _vector(self, face: np.ndarray) -> np.ndarray:
        output = self._network(face[None])
        length = float(np.linalg.norm(output)) if output.ndim and output.size == output.shape[-1] else np.nan
        if not np.isfinite(length) or length == 0:
            raise ConfigError(
                f"The network {self._path} gives {output.shape} instead of one vector of finite numbers.",
                remedy="The module latentsync/face/user_network.py says what is expected.",
            )
        return output.reshape(-1) / length


def _upright_face(frame: Frame, landmarks: np.ndarray) -> np.ndarray:
    """(3, 112, 112) float32 in [-1, 1]; outside the frame its edge goes on."""
    groups = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))
    points = np.array([landmarks[group].mean(axis=0) for group in groups], np.float64)
    matrix = _similarity(points, _PLACES)
    box = pixels_in_box(transformed_box(invert(matrix), (0, 0, SIDE, SIDE)), frame.shape, margin=2)
    if box is None:
        return np.zeros((3, SIDE, SIDE), np.float32)
    matrix[:, 2] += matrix[:, :2] @ box[:2]
    face = cv2.warpAffine(frame.region(box), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return face.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def _similarity(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(2, 3) float64: the turned, scaled and moved ``points`` (n, 2) nearest to ``places`` (least squares)."""
    z, w = (each[:, 0] + 1j * each[:, 1] for each in (points, places))
    factor = ((w - w.mean()) * np.conj(z - z.mean())).sum() / max(float((abs(z - z.mean()) ** 2).sum()), 1e-12)
    shift = w.mean() - factor * z.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])

"""A user's own network that knows faces again: ``--face_network``.

None comes with this package. A network of the usual kind gets one face, (1, 3, 112, 112) float32 RGB in [-1, 1], with
eyes, nose and corners of the mouth in the places below, and gives one vector, (1, D); its length does not count. Two
faces are of one person if the cosine of their vectors is at least ``SAME_PERSON``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from latentsync.checkpoint.files import sha256_file
from latentsync.errors import ConfigError
from latentsync.face.box import pixels_in_box, transformed_box
from latentsync.face.similarity import invert
from latentsync.face.user_network import read_network
from latentsync.types import Frame

SIDE = 112  # px
SAME_PERSON = 0.35  # cosine
# Left eye, right eye, tip of the nose, left and right corner of the mouth, px: the places that are usual for 112 x 112.
_PLACES = np.array([(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)])


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
                remedy="The module latentsync/face/face_network.py says what is expected.",
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

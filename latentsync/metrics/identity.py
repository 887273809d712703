"""CSIM: cosine similarity of two faces as a face-recognition network sees them (ArcFace, Deng et al. 2019).

Which network is not settled in the field, and most published weights forbid commercial use: bring the one you may use,
as a TorchScript file, and state it with the figure. It says whether the person stayed the same, not whether the mouth
is right; most of the face is not generated at all, so values near 1 are usual.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from latentsync.checkpoint.files import FileKind, inspect_file
from latentsync.errors import DataError
from latentsync.face.resample import warp
from latentsync.levels import normalize

SIDE = 112  # pixels
# Where ArcFace's networks expect the eyes, the tip of the nose and the corners of the mouth.
_TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
_POINTS = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))  # of the iBUG landmarks


def load_face_embedding(path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """A TorchScript network (N, 3, 112, 112) RGB in [-1, 1] -> (N, D). Raises the ``WeightsError`` family."""
    inspect_file(path, accept=frozenset({FileKind.TORCHSCRIPT}))
    return torch.jit.load(str(path), map_location=device).eval()


def face_square(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8 of a frame (H, W, 3) uint8 RGB, aligned by five points of its (68, 2) landmarks."""
    points = np.stack([landmarks[part].mean(axis=0) for part in _POINTS]).astype(np.float64)
    matrix, _ = cv2.estimateAffinePartial2D(points, _TEMPLATE, method=cv2.LMEDS)
    if matrix is None:
        raise DataError("The landmarks of a face coincide.", remedy="Use another face detector.")
    return np.rint(np.clip(warp(frame, matrix, (SIDE, SIDE), 0), 0, 255)).astype(np.uint8)


@torch.inference_mode()
def csim(network: nn.Module, prediction: np.ndarray, reference: np.ndarray) -> float:
    """Mean cosine, -1 to 1, over pairs of (N, 112, 112, 3) uint8 RGB faces. Raises ``ValueError`` for other shapes."""
    if prediction.shape != reference.shape or prediction.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"faces must both be (N, {SIDE}, {SIDE}, 3), not {prediction.shape} and {reference.shape}")
    mine, true = (
        network(normalize(torch.from_numpy(faces).permute(0, 3, 1, 2))) for faces in (prediction, reference)
    )
    return float(torch.cosine_similarity(mine, true).mean())

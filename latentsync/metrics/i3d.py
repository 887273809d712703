"""Features of FVD (Unterthiner et al. 2018): I3D trained on Kinetics-400, as its published TorchScript file.

The network expects pixels from -1 to 1. The published LatentSync evaluation gives it 0 to 1: its figures are reproduced
with ``PUBLISHED``, and compare with nobody else's. FVD sees movement and texture of 0.6 s; whether lips and audio
agree it does not see.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from latentsync.checkpoint.files import FileKind, inspect_file
from latentsync.errors import DataError

SIDE = 224  # pixels
FIRST_FRAME, FRAMES = 20, 16  # the published evaluation looks at frames 20 to 35 of every clip


class PixelRange(StrEnum):
    """What pixels are scaled to: as the network was trained, or as the published evaluation does."""

    NETWORK = "network"  # -1 to 1
    PUBLISHED = "published"  # 0 to 1


def load_i3d(path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The published ``i3d_torchscript.pt``. Raises ``WeightsMissingError`` and ``WeightsCorruptError``."""
    inspect_file(path, accept=frozenset({FileKind.TORCHSCRIPT}))
    return torch.jit.load(str(path), map_location=device).eval()


@torch.inference_mode()
def i3d_features(network: nn.Module, faces: np.ndarray, pixel_range: PixelRange = PixelRange.NETWORK) -> np.ndarray:
    """(400,) float32 of one clip of ``faces`` (16, 224, 224, 3) uint8 RGB. Raises ``ValueError`` for other shapes."""
    if faces.shape != (FRAMES, SIDE, SIDE, 3):
        raise ValueError(f"faces must be ({FRAMES}, {SIDE}, {SIDE}, 3), not {faces.shape}")
    pixels = torch.from_numpy(faces).permute(3, 0, 1, 2)[None].float() / 255
    pixels = pixels * 2 - 1 if pixel_range is PixelRange.NETWORK else pixels
    return network(pixels, rescale=False, resize=False, return_features=True)[0].float().cpu().numpy()


def face_image(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(224, 224, 3) uint8: the box (4,) x0, y0, x1, y1 of a face, without margin, stretched to a square as published.

    Raises ``DataError`` if the box lies outside the frame.
    """
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(box).astype(int), 0, [width, height, width, height])
    if x1 <= x0 or y1 <= y0:
        raise DataError("The face lies outside the picture.", remedy="Leave such frames out.")
    return cv2.resize(frame[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)

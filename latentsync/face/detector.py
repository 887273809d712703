"""Face detectors: what they find, and the protocol that every back end implements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from latentsync.errors import WeightsMissingError
from latentsync.types import Frame

DOWNLOAD = "`latentsync weights --for inference`"
DOWNLOAD_FREE = "`latentsync weights --face-detector`"  # YuNet and its mesh, 4 MB


@dataclass(frozen=True, slots=True)
class Detection:
    """One face in one frame. ``box`` (4,) x0, y0, x1, y1 and ``landmarks`` (68, 2) in iBUG order are float32 in frame
    pixels, with pixel centres at whole numbers. ``score`` in [0, 1].
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float


class FaceDetector(Protocol):
    """Finds all faces in single frames; keeps nothing from one frame to the next."""

    name: str  # of weights, version and parameters: detectors of one name give the same results

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """The faces of each frame, the most certain first. The frames have one size."""
        ...


def require_weights(weights_dir: Path, names: tuple[str, ...]) -> Path:
    """The first of the files ``names`` that is in ``weights_dir``. Raises ``WeightsMissingError`` if none is."""
    found = find_weights(weights_dir, names)
    if found is None:
        raise WeightsMissingError(f"There is no {' or '.join(names)} in {weights_dir}.", remedy=f"Run: {DOWNLOAD}")
    return found


def find_weights(weights_dir: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the files ``names`` that is in ``weights_dir``, or None."""
    return next((weights_dir / name for name in names if (weights_dir / name).is_file()), None)

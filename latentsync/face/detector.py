"""What finds faces: the protocol, and choosing one of its back ends by name and by the weight files at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from latentsync.errors import ConfigError, WeightsMissingError

DETECTOR_NAMES = ("auto", "face-alignment", "yunet")
DOWNLOAD = "python -m scripts.download_checkpoints --for inference"


@dataclass(frozen=True, slots=True)
class Detection:
    """One face in one frame. ``box`` (4,) x0, y0, x1, y1 and ``landmarks`` (68, 2) iBUG order: float32, frame pixels,
    pixel centres at whole numbers. ``score`` in [0, 1].
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float


class FaceDetector(Protocol):
    """Finds all faces of single frames; keeps nothing from one frame to the next."""

    name: str  # says weights, version and parameters: results under one name are interchangeable

    def detect(self, frames: list[np.ndarray]) -> list[list[Detection]]:
        """The faces of each frame (H, W, 3) uint8 RGB, frames of one size; strongest first."""
        ...


def load_detector(name: str, weights_dir: Path, device: str) -> FaceDetector:
    """The detector of that name with its files from ``weights_dir`` (``checkpoints/auxiliary``).

    'auto' takes the first of these whose files are there: on a GPU 'face-alignment', then 'yunet'; on a CPU the other
    way round, because S3FD needs seconds for a frame there. ``device`` as torch names it ('cpu', 'cuda:0').
    Raises ``ConfigError`` for an unknown name, ``WeightsMissingError`` if files are missing, ``WeightsCorruptError`` if
    they cannot be read.
    """
    from latentsync.face.backends import face_alignment, yunet  # here, because each brings a runtime of its own

    if name not in DETECTOR_NAMES:
        raise ConfigError(f"There is no face detector {name!r}.", remedy=f"Use one of {', '.join(DETECTOR_NAMES)}.")
    order = ["yunet", "face-alignment"] if device == "cpu" else ["face-alignment", "yunet"]
    backends = {"yunet": yunet, "face-alignment": face_alignment}
    missing = []
    for candidate in order if name == "auto" else [name]:
        absent = backends[candidate].missing_files(weights_dir)
        if not absent:
            return backends[candidate].load(weights_dir, device)
        missing.append(f"{candidate}: {', '.join(absent)}")
    raise WeightsMissingError(
        f"No face detector can be loaded from {weights_dir}; missing for {'; for '.join(missing)}.",
        remedy=f"Run: {DOWNLOAD}",
    )


def find_weights(weights_dir: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the files ``names`` that is in ``weights_dir``."""
    return next((weights_dir / name for name in names if (weights_dir / name).is_file()), None)

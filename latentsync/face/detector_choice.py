"""Choosing a detector by name and by the weight files at hand."""

from __future__ import annotations

from pathlib import Path

from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.face.detector import DOWNLOAD, FaceDetector

DETECTOR_NAMES = ("auto", "face-alignment", "yunet")


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

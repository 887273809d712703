"""The face detectors that there are, and the choice of one by name and by the weight files that are there."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.face.detector import DOWNLOAD, DOWNLOAD_FREE, FaceDetector, find_weights

DETECTOR_NAMES = ("auto", "face-alignment", "yunet")


def load_detector(name: str, weights_dir: Path, device: str, threads: int | None = None) -> FaceDetector:
    """The detector that ``choose_detector`` names, with its files from ``weights_dir``.

    ``threads``: the most that a detector starts of its own (None: one for each core). Raises as ``choose_detector``,
    and ``WeightsCorruptError`` if the files cannot be read.
    """
    return _backends()[choose_detector(name, weights_dir, device)].load(weights_dir, device, threads)


def detector_files(name: str, weights_dir: Path, device: str) -> list[Path]:
    """The files that ``load_detector`` would read; raises as ``choose_detector``."""
    groups = _backends()[choose_detector(name, weights_dir, device)].FILES
    return [path for names in groups if (path := find_weights(weights_dir, names)) is not None]


def choose_detector(name: str, weights_dir: Path, device: str) -> str:
    """The name of the detector to load from ``weights_dir`` (``checkpoints/auxiliary``).

    'auto' takes the first of these whose files are there: on a GPU 'face-alignment', then 'yunet'; on a CPU 'yunet',
    then 'face-alignment', whose S3FD needs seconds for a frame there. ``device`` as torch names it ('cpu', 'cuda:0').
    Raises ``ConfigError`` for an unknown name, ``WeightsMissingError`` if files are missing.
    """
    if name not in DETECTOR_NAMES:
        raise ConfigError(f"There is no face detector {name!r}.", remedy=f"Use one of {', '.join(DETECTOR_NAMES)}.")
    order = ["yunet", "face-alignment"] if device == "cpu" else ["face-alignment", "yunet"]
    missing = []
    for candidate in order if name == "auto" else [name]:
        absent = _backends()[candidate].missing_files(weights_dir)
        if not absent:
            return candidate
        missing.append(f"{candidate}: {', '.join(absent)}")
    raise WeightsMissingError(
        f"No face detector can be loaded from {weights_dir}; missing for {'; for '.join(missing)}.",
        remedy=f"Run: {DOWNLOAD if name == 'face-alignment' else DOWNLOAD_FREE}",
    )


def _backends() -> dict[str, ModuleType]:
    """Name -> module with ``FILES``, ``missing_files(weights_dir)`` and ``load(weights_dir, device, threads)``."""
    from latentsync.face.backends import face_alignment, yunet  # here, because each loads a framework

    return {"yunet": yunet, "face-alignment": face_alignment}

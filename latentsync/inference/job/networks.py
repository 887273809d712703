"""Where a dub gets its networks from: loaded for it alone, or kept in memory for the next dub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.face.backends import load_detector
from latentsync.face.detector import FaceDetector
from latentsync.inference.weights import ModelSettings, WeightPaths

if TYPE_CHECKING:
    import torch

    from latentsync.inference.pipeline import LipsyncPipeline


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Which pipeline: the arguments of ``loading.load_pipeline``."""

    weights: WeightPaths
    settings: ModelSettings
    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    compiled: bool = False


class Networks:
    """Loads the networks anew each time."""

    def pipeline(self, choice: NetworkChoice) -> LipsyncPipeline:
        """See ``loading.load_pipeline``."""
        from latentsync.inference.loading import load_pipeline  # here: it takes seconds to import

        return load_pipeline(choice.weights, choice.settings, choice.devices, choice.dtype, choice.compiled)

    def detector(self, name: str, auxiliary: Path, device: str) -> FaceDetector:
        """See ``face.backends.load_detector``."""
        return load_detector(name, auxiliary, device)


class KeptNetworks(Networks):
    """Keeps the last pipeline and the last detector, so that asking for the same ones again loads nothing.

    The kept networks are freed before others are loaded, so memory never has to hold both. A weight file that changed
    on disk is loaded anew. For one dub at a time, as the pipeline itself is.
    """

    def __init__(self) -> None:
        self._pipeline: tuple[object, LipsyncPipeline] | None = None
        self._detector: tuple[object, FaceDetector] | None = None

    def pipeline(self, choice: NetworkChoice) -> LipsyncPipeline:
        """See ``Networks.pipeline``."""
        files = [path.stat() for path in choice.weights.networks().values()]
        key = (choice, *((file.st_size, file.st_mtime_ns) for file in files))
        if self._pipeline is None or self._pipeline[0] != key:
            from latentsync.runtime.memory import release_memory  # here: it imports torch, which takes seconds

            self._pipeline = None
            release_memory()
            self._pipeline = key, super().pipeline(choice)
        return self._pipeline[1]

    def detector(self, name: str, auxiliary: Path, device: str) -> FaceDetector:
        """See ``Networks.detector``."""
        key = (name, auxiliary, device)
        if self._detector is None or self._detector[0] != key:
            self._detector = None
            self._detector = key, super().detector(name, auxiliary, device)
        return self._detector[1]

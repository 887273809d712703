"""Where a job gets its networks from: loaded for it alone, or kept in memory for the next one."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.face.detector import FaceDetector
from latentsync.face.detector_choice import load_detector
from latentsync.inference.weights import ModelSettings, WeightPaths

if TYPE_CHECKING:
    import torch

    from latentsync.inference.pipeline import LipsyncPipeline


class Networks:
    """Loads what is asked for, each time."""

    def pipeline(
        self,
        weights: WeightPaths,
        settings: ModelSettings,
        device: torch.device,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> LipsyncPipeline:
        """See ``loading.load_pipeline``."""
        from latentsync.inference.loading import load_pipeline  # seconds to import: not before the files are checked

        return load_pipeline(weights, settings, device, dtype, compiled)

    def detector(self, name: str, auxiliary: Path, device: str) -> FaceDetector:
        """See ``face.detector_choice.load_detector``."""
        return load_detector(name, auxiliary, device)


class KeptNetworks(Networks):
    """Keeps the last pipeline and the last detector; what is asked for again is not loaded again.

    Others are loaded after the last ones are freed, so memory never has to hold both. A weight file that changed on
    disk is loaded anew. For one job at a time, as the pipeline itself is.
    """

    def __init__(self) -> None:
        self._pipeline: tuple[object, LipsyncPipeline] | None = None
        self._detector: tuple[object, FaceDetector] | None = None

    def pipeline(
        self,
        weights: WeightPaths,
        settings: ModelSettings,
        device: torch.device,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> LipsyncPipeline:
        """See ``Networks.pipeline``."""
        states = [(stat.st_size, stat.st_mtime_ns) for stat in (path.stat() for path in weights.networks().values())]
        key = (weights, settings, device, dtype, compiled, *states)
        if self._pipeline is None or self._pipeline[0] != key:
            self._pipeline = None
            _free_memory()
            self._pipeline = key, super().pipeline(weights, settings, device, dtype, compiled)
        return self._pipeline[1]

    def detector(self, name: str, auxiliary: Path, device: str) -> FaceDetector:
        """See ``Networks.detector``."""
        key = (name, auxiliary, device)
        if self._detector is None or self._detector[0] != key:
            self._detector = None
            self._detector = key, super().detector(name, auxiliary, device)
        return self._detector[1]


def _free_memory() -> None:
    import torch

    gc.collect()  # modules refer to themselves through their hooks
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

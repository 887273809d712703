"""The networks that the steps use, each loaded when first asked for and then kept.

So is the code of the scorers: importing it takes longer than most clips do.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from latentsync.checkpoint.files import inspect_file
from latentsync.checkpoint.registry import HYPERIQA_FILE, S3FD_FILE, SYNCNET_V2_FILE
from latentsync.errors import WeightsError, WeightsMissingError
from latentsync.face.backends import choose_detector, load_detector
from latentsync.face.detector import FaceDetector
from latentsync.preprocess.settings import PUBLISHED_SYNC, PreprocessSettings

if TYPE_CHECKING:
    from latentsync.preprocess.steps.scorers import QualityScorer, SyncScorer

_DOWNLOAD = "`latentsync weights --for data`"


class StepNetworks(Protocol):
    """What the steps are given; tests give them stand-ins."""

    @property
    def detector(self) -> FaceDetector:
        """Of steps 5 and 6."""
        ...

    @property
    def sync_scorer(self) -> SyncScorer:
        """Of step 7."""
        ...

    @property
    def quality_scorer(self) -> QualityScorer:
        """Of step 8."""
        ...

    def missing(self) -> dict[str, WeightsError]:
        """By attribute: why that network cannot be loaded. Nothing is loaded to find out."""
        ...


class LoadedNetworks:
    """Networks from the files that the settings name, on ``device``."""

    def __init__(self, settings: PreprocessSettings, device: str) -> None:
        self._settings, self._device = settings, device
        self._weights = settings.weights

    @cached_property
    def detector(self) -> FaceDetector:
        return load_detector(self._settings.faces.detector, self._weights, self._device, threads=1)

    @cached_property
    def sync_scorer(self) -> SyncScorer:
        if self._settings.sync.scorer == PUBLISHED_SYNC:
            from latentsync.preprocess.steps.scorers import PublishedSyncScorer

            return PublishedSyncScorer(self._weights, self._device)
        from latentsync.preprocess.steps.scorers import OwnSyncScorer

        return OwnSyncScorer(Path(self._settings.sync.scorer), self._device)

    @cached_property
    def quality_scorer(self) -> QualityScorer:
        from latentsync.preprocess.steps.scorers import PublishedQualityScorer

        return PublishedQualityScorer(self._weights, self._device)

    def missing(self) -> dict[str, WeightsError]:
        """See ``StepNetworks``."""
        own = self._settings.sync.scorer != PUBLISHED_SYNC
        published = [self._weights / S3FD_FILE, self._weights / SYNCNET_V2_FILE]
        sync_files = [Path(self._settings.sync.scorer)] if own else published
        wanted = {"sync_scorer": sync_files, "quality_scorer": [self._weights / HYPERIQA_FILE]}
        found = {name: error for name, paths in wanted.items() if (error := _look(paths)) is not None}
        try:
            choose_detector(self._settings.faces.detector, self._weights, self._device)
        except WeightsError as error:
            found["detector"] = error
        return found


def _look(paths: list[Path]) -> WeightsError | None:
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        return WeightsMissingError(f"Missing: {', '.join(absent)}.", remedy=f"Run: {_DOWNLOAD}")
    try:
        for path in paths:
            inspect_file(path)
    except WeightsError as error:
        return error
    return None

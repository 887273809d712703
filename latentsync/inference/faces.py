"""Whose face is followed, and by what: from the words of a request to tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.face.backends.choice import load_detector
from latentsync.face.detections_file import read_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.selection import FaceSelector
from latentsync.face.tracking import TrackingSettings
from latentsync.face.tracks import FaceTracks
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.types import Frame, VideoInfo

if TYPE_CHECKING:
    import torch

TRACK_SUFFIXES = (".npz", ".json")
DETECTION_BATCH = 4  # frames detected together; as many wait for it, and behind it


class FaceFinder:
    """A detector, or the faces that a user's file gives; ``detector`` is None for a file."""

    def __init__(
        self,
        name: str,
        auxiliary: Path,
        device: torch.device,
        clock: StageClock,
        load: Callable[[str, Path, str], FaceDetector] = load_detector,
    ) -> None:
        """``name``: a detector of ``face.detector`` or a track file; ``auxiliary``: the folder of detector weights.

        Raises ``ConfigError`` and the ``WeightsError`` family.
        """
        self.file = Path(name) if Path(name).suffix.lower() in TRACK_SUFFIXES else None
        self.detector: FaceDetector | None = None
        if self.file is not None:
            read_detections(self.file)  # a damaged file is named now
        else:
            self.detector = TimedDetector(load(name, auxiliary, str(device)), clock)

    def tracks(self, info: VideoInfo, options: SyncOptions) -> FaceTracks:
        """Tracks of one video. Those of a video file are kept for the next run on the same content."""
        selector, settings = FaceSelector(options.face), tracking_settings(options)
        if self.file is not None:
            return FaceTracks.from_file(self.file, selector, settings)
        if info.path.is_file():
            return FaceTracks.cached(info.path, self.detector, selector, settings)
        return FaceTracks(self.detector, selector, settings)


def tracking_settings(options: SyncOptions) -> TrackingSettings:
    """With ``compat`` the alignment smooths the landmarks as that release does, so the tracks do not."""
    settings = TrackingSettings(batch=DETECTION_BATCH)
    return settings if options.compat is None else replace(settings, smoothing=0)


class TimedDetector:
    """A detector whose work is counted as the stage 'detect'."""

    def __init__(self, detector: FaceDetector, clock: StageClock) -> None:
        self.name = detector.name
        self._detector, self._clock = detector, clock

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """See ``face.detector.FaceDetector``."""
        with self._clock.measure("detect"):
            return self._detector.detect(frames)

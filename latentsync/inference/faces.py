"""From the options of a run to the tracks of its faces: which detector, and whose face is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from latentsync.face.appearance import BY_LOOKS, FaceEmbedder
from latentsync.face.backends import load_detector
from latentsync.face.detections_file import Detections, read_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.selection import FaceSelector
from latentsync.face.tracking import TrackingSettings
from latentsync.face.tracks import FaceTracks
from latentsync.face.user_network import FaceNetwork
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.types import ArrayFrame, Frame, VideoInfo

if TYPE_CHECKING:
    import torch

FACES_SUFFIXES = (".npz", ".json")
DETECTION_BATCH = 4  # frames detected together


class FaceFinder:
    """A detector, or the faces of a user's file; then ``detector`` is None."""

    def __init__(
        self,
        name: str,
        auxiliary: Path,
        device: torch.device,
        clock: StageClock,
        load: Callable[[str, Path, str], FaceDetector] = load_detector,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """``name``: a detector of ``face.backends`` or a file of faces; ``auxiliary``: the folder of detector weights.

        ``pixel_aspect``: width over height of the pixels of the frames, which the detector sees as they are to be seen.

        Raises ``ConfigError`` and the ``WeightsError`` family.
        """
        self._given: Detections = {}
        self.detector: FaceDetector | None = None
        if Path(name).suffix.lower() in FACES_SUFFIXES:
            self._given = read_detections(Path(name))
        else:
            detector = load(name, auxiliary, str(device))
            self.detector = TimedDetector(
                detector if pixel_aspect == 1 else SquarePixelDetector(detector, pixel_aspect), clock
            )

    def tracks(self, info: VideoInfo, options: SyncOptions) -> FaceTracks:
        """The tracks of one video. The detections of a video file are kept for the next run on the same content."""
        selector, settings, embedder = FaceSelector(options.face), tracking_settings(options), face_embedder(options)
        if self.detector is None:
            return FaceTracks.given(dict(self._given), selector, settings, embedder=embedder)
        if info.path.is_file():
            return FaceTracks.cached(info.path, self.detector, selector, settings, embedder=embedder)
        return FaceTracks(self.detector, selector, settings, embedder=embedder)


    def tracks_again(self, tracks: FaceTracks, options: SyncOptions, face: str) -> FaceTracks:
        """Other tracks of the same video, with the same detections, which follow ``face``."""
        selector, settings, embedder = FaceSelector(face), tracking_settings(options), face_embedder(options)
        if self.detector is None:
            return FaceTracks.given(tracks.detections, selector, settings, embedder=embedder)
        return FaceTracks(self.detector, selector, settings, detections=tracks.detections, embedder=embedder)


def tracking_settings(options: SyncOptions) -> TrackingSettings:
    """With ``compat`` the alignment smooths the landmarks as that release does, so the tracks do not."""
    settings = TrackingSettings(batch=DETECTION_BATCH)
    return settings if options.compat is None else replace(settings, smoothing=0)


def face_embedder(options: SyncOptions) -> FaceEmbedder | None:
    """What people are known again by; with ``compat`` they are not."""
    if options.compat is not None:
        return None
    return FaceNetwork(Path(options.face_network)) if options.face_network else BY_LOOKS


class TimedDetector:
    """A detector whose time is counted as the stage 'detect'."""

    def __init__(self, detector: FaceDetector, clock: StageClock) -> None:
        self.name = detector.name
        self._detector, self._clock = detector, clock

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """See ``face.detector.FaceDetector``."""
        with self._clock.measure("detect"):
            return self._detector.detect(frames)


class SquarePixelDetector:
    """A detector that sees frames stretched to square pixels; what it finds is in pixels of the frames themselves."""

    def __init__(self, detector: FaceDetector, pixel_aspect: Fraction) -> None:
        self.name = f"{detector.name} {pixel_aspect.numerator}x{pixel_aspect.denominator}"
        self._detector, self._aspect = detector, float(pixel_aspect)

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """See ``face.detector.FaceDetector``."""
        return [
            [self._squeezed(face) for face in faces] for faces in self._detector.detect(list(map(self._square, frames)))
        ]

    def _square(self, frame: Frame) -> Frame:
        height, width, _ = frame.shape
        size = (max(1, round(width * self._aspect)), height)
        interpolation = cv2.INTER_AREA if self._aspect < 1 else cv2.INTER_LINEAR
        return ArrayFrame(frame.index, frame.time, cv2.resize(frame.pixels, size, interpolation=interpolation))

    def _squeezed(self, face: Detection) -> Detection:
        x, y = 1 / self._aspect, 1.0
        box, landmarks = np.array([x, y, x, y], np.float32), np.array([x, y], np.float32)
        return replace(face, box=face.box * box, landmarks=face.landmarks * landmarks)

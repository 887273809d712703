"""What a recording says over time: sync of lips and audio, the opening of the mouth, and lags."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.voice_activity import speaking_frames
from latentsync.checkpoint.card import read_config
from latentsync.checkpoint.registry import S3FD_FILE
from latentsync.errors import DataError, NoAudioStreamError
from latentsync.evaluation.crops import crop_face
from latentsync.evaluation.faces import FacePath, follow_face, given_faces
from latentsync.evaluation.missing import Missing, attempt
from latentsync.evaluation.networks import find_detector, load_sync_network
from latentsync.evaluation.recordings import Recording, open_recording
from latentsync.evaluation.settings import EvaluationSettings
from latentsync.face.detector import FaceDetector
from latentsync.face.similarity import compose
from latentsync.metrics import mouth
from latentsync.metrics.published_sync import PublishedSync
from latentsync.metrics.s3fd import load_s3fd
from latentsync.metrics.stable_sync import StableSync, SyncFit, SyncTrace
from latentsync.metrics.syncnet_v2 import load_syncnet_v2
from latentsync.types import SyncScore

THUMBNAIL = 32  # px, side of the images in which movement is compared
LAG_REACH = 10  # frames, either way


def stable_sync_fit(
    network: StableSync, faces: FacePath, audio: np.ndarray, recording: Recording, resolution: int
) -> SyncFit:
    """By a StableSyncNet, which sees faces cut at its own size; ``faces`` are placed for ``resolution``.

    Raises ``DataError`` if no window has frames and audio, ``AudioError``.
    """
    trace, side = SyncTrace(network, syncnet_mel(audio)), network.view.resolution
    ratio = side / resolution
    shrink = np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]])  # keeps the outer edges
    with closing(recording.frames()) as frames:
        for frame, matrix in zip(frames, chain(faces.matrices, repeat(None)), strict=False):
            trace.add(None if matrix is None else crop_face(frame, compose(shrink, matrix), side))
    fit = trace.finish()
    if fit is None:
        raise DataError("too short: there is no window of 16 frames with face and sound", remedy="Score longer clips.")
    return fit


def published_sync_score(
    networks: PublishedSync, audio: np.ndarray, recording: Recording, faces: FacePath | None
) -> SyncScore:
    """LSE-C, LSE-D and offset of the face that ``faces`` follows, the largest if None. Raises ``DataError``."""
    cuts, target = (faces.cuts, faces.boxes) if faces is not None else ((), None)
    return networks.target_score(recording.frames, audio, cuts, target)


@dataclass(frozen=True, slots=True)
class Mouth:
    """How a mouth moves. ``opening`` (N,), what was not seen put in from the neighbours; ``landmarks`` (N, 68, 2)
    frame px, not a number where not seen."""

    opening: np.ndarray
    landmarks: np.ndarray


def mouth_of(faces: FacePath) -> Mouth:
    """Raises ``DataError`` if no frame has landmarks."""
    seen = np.isfinite(faces.landmarks).all(axis=(1, 2))
    if not seen.any():
        raise DataError("no landmarks of the mouth", remedy="Choose another --detector.")
    opening = np.full(len(seen), np.nan)
    opening[seen] = mouth.mouth_opening(faces.landmarks[seen])
    return Mouth(mouth.fill_gaps(opening), faces.landmarks)


@dataclass(frozen=True, slots=True)
class MouthPair:
    """A mouth beside the true one, and beside the ``source``'s if that says something else. ``audio`` (n,) is what
    should be spoken."""

    mine: Mouth
    truth: Mouth
    source: Mouth | None
    audio: np.ndarray

    @property
    def openings(self) -> tuple[np.ndarray, np.ndarray]:
        """Of both, over the frames that all have."""
        known = [each.opening for each in (self.mine, self.truth, self.source) if each is not None]
        count = min(len(opening) for opening in known)
        return self.mine.opening[:count], self.truth.opening[:count]


def opening_correlation(pair: MouthPair) -> float:
    """With the true mouth. Raises ``DataError``."""
    return mouth.opening_correlation(*pair.openings)


def opening_lag(pair: MouthPair) -> float:
    """Frames that the mouth comes late. Raises ``DataError``."""
    mine, true = pair.openings
    if len(mine) <= 2 * LAG_REACH:
        raise DataError("too short: less than 21 frames", remedy="Score longer clips.")
    return float(mouth.opening_lag(mine, true, LAG_REACH))


def opening_leak(pair: MouthPair, source: Mouth) -> float:
    """Of the source's own mouth. Raises ``DataError``."""
    mine, true = pair.openings
    return mouth.opening_leak(mine, source.opening[: len(mine)], true)


def source_correlation(pair: MouthPair, source: Mouth) -> float:
    """With the source's mouth. Raises ``DataError``."""
    mine, _ = pair.openings
    return mouth.opening_correlation(mine, source.opening[: len(mine)])


def silence_movement(pair: MouthPair) -> float:
    """In silence, over that in speech. Raises ``DataError``."""
    opening = pair.mine.opening
    return mouth.silence_movement(opening, speaking_frames(pair.audio, len(opening)))


def landmark_distance(pair: MouthPair) -> float:
    """LMD over the frames in which both mouths are seen. Raises ``DataError`` if there is none."""
    count = min(len(pair.mine.landmarks), len(pair.truth.landmarks))
    mine, true = pair.mine.landmarks[:count], pair.truth.landmarks[:count]
    both = np.isfinite(mine).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    if not both.any():
        raise DataError("no frame in which both faces are seen", remedy="Choose another --detector.")
    return mouth.landmark_distance(mine[both], true[both])


def thumbnails(recording: Recording) -> np.ndarray:
    """(N, 32 * 32) float32 grey levels, in which movement is compared."""
    size = (THUMBNAIL, THUMBNAIL)
    with closing(recording.frames()) as frames:
        small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).ravel() for each in small]).astype(np.float32)


class ConfidenceScorer:
    """The sync confidence of single videos, without any truth beside them: of the largest face.

    By the published SyncNet v2, or by a StableSyncNet of ours if ``model`` is one: then confidence is the mean cosine
    at the best shift less the median over all, and distance one less the cosine where the audio is.

    Raises the ``WeightsError`` family.
    """

    def __init__(self, model: Path, auxiliary: Path, settings: EvaluationSettings) -> None:
        self._settings = settings
        self._networks: StableSync | PublishedSync
        self._detector: FaceDetector | Missing = Missing()
        if read_config(model) is not None:
            self._networks = load_sync_network(model, None)
            self._detector = find_detector(settings, auxiliary)
        else:
            self._networks = PublishedSync(load_s3fd(auxiliary / S3FD_FILE), load_syncnet_v2(model))

    def __call__(self, path: Path) -> SyncScore | Missing:
        """Whatever is wrong with the file becomes the reason."""
        return attempt(self._score, path)

    def _score(self, path: Path) -> SyncScore:
        recording = open_recording(path, limits=self._settings.limits)
        if recording.audio is None:
            raise NoAudioStreamError(recording.no_audio)
        if isinstance(self._networks, PublishedSync):
            return published_sync_score(self._networks, recording.audio, recording, None)
        faces = follow_face(recording, self._detector, given_faces(path), self._settings)
        fit = stable_sync_fit(self._networks, faces, recording.audio, recording, self._settings.resolution)
        return SyncScore(fit.offset.confidence, -fit.offset.frames, 1 - fit.cosine)

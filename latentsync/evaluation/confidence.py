"""The sync confidence of single videos, without any truth beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentsync.checkpoint.card import read_config
from latentsync.checkpoint.registry import S3FD_FILE
from latentsync.errors import LatentSyncError, NoAudioStreamError
from latentsync.evaluation.faces import known_or_found
from latentsync.evaluation.instruments import find_detector, load_sync_model
from latentsync.evaluation.recording import open_recording
from latentsync.evaluation.settings import EvaluationSettings
from latentsync.evaluation.voices import own_sync, published_sync
from latentsync.metrics.published_sync import PublishedSync
from latentsync.metrics.s3fd import load_s3fd
from latentsync.metrics.syncnet_v2 import load_syncnet_v2
from latentsync.types import SyncScore


@dataclass(frozen=True, slots=True)
class Confidence:
    """``score`` is None for a video that could not be judged, for the ``reason``."""

    path: Path
    score: SyncScore | None
    reason: str = ""


class ConfidenceScorer:
    """Judges by the published SyncNet v2, or by a StableSyncNet of ours if ``model`` is one: then confidence is the
    mean cosine at the best shift less the median over all, and distance one less the cosine where the sound is.

    Raises the ``WeightsError`` family.
    """

    def __init__(self, model: Path, auxiliary: Path, settings: EvaluationSettings) -> None:
        self._settings = settings
        self._own = self._published = self._detector = None
        if read_config(model) is not None:
            self._own = load_sync_model(model, None)
            self._detector = find_detector(settings, auxiliary)
        else:
            self._published = PublishedSync(load_s3fd(auxiliary / S3FD_FILE), load_syncnet_v2(model))

    def __call__(self, path: Path) -> Confidence:
        """Of the largest face; whatever is wrong with the file becomes the reason."""
        try:
            return Confidence(path, self._score(path))
        except LatentSyncError as error:
            return Confidence(path, None, error.message)

    def _score(self, path: Path) -> SyncScore:
        recording = open_recording(path)
        if recording.sound is None:
            raise NoAudioStreamError(recording.no_sound)
        if self._published is not None:
            found = published_sync(self._published, recording, None, recording.sound)
            return SyncScore(found["lse_c"], int(found["av_offset"]), found["lse_d"])
        side = self._settings.resolution
        faces = known_or_found(recording, self._detector, self._settings.face, side)
        found = own_sync(self._own, recording, faces, recording.sound, side)
        offset = int(found["stablesyncnet_offset"])
        return SyncScore(found["stablesyncnet_confidence"], offset, 1 - found["stablesyncnet_cosine"])

"""What sound and mouth say of each other: sync scores, mouth opening, silence, length and drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, repeat

import cv2
import numpy as np

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.voice_activity import speaking_frames
from latentsync.constants import AUDIO_RATE
from latentsync.errors import DataError
from latentsync.evaluation.faces import FacePath
from latentsync.evaluation.recording import Recording
from latentsync.face.align import align_face
from latentsync.face.similarity import compose
from latentsync.levels import to_image
from latentsync.metrics.drift import audio_lag, video_lag
from latentsync.metrics.mouth import (
    fill_gaps,
    landmark_distance,
    mouth_opening,
    opening_correlation,
    opening_lag,
    opening_leak,
    silence_movement,
)
from latentsync.metrics.published_sync import PublishedSync
from latentsync.metrics.stable_sync import StableSync, SyncTrace

THUMBNAIL = 32  # px, side of the pictures in which movement is compared
Scores = dict[str, float]


def own_sync(model: StableSync, recording: Recording, faces: FacePath, sound: np.ndarray, resolution: int) -> Scores:
    """By a StableSyncNet, which sees faces cut at its own size; ``faces`` are placed for ``resolution``.

    Raises ``DataError`` if no window has picture and sound, ``AudioError``.
    """
    trace, side = SyncTrace(model, syncnet_mel(sound)), model.view.resolution
    ratio = side / resolution
    shrink = np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]])  # keeps the outer edges
    with closing(recording.pictures()) as pictures:
        for picture, matrix in zip(pictures, chain(faces.matrices, repeat(None)), strict=False):
            trace.add(None if matrix is None else face_of(picture, compose(shrink, matrix), side))
    fit = trace.finish()
    if fit is None:
        raise DataError("too short: there is no window of 16 frames with face and sound", remedy="Score longer clips.")
    return {
        "stablesyncnet_cosine": fit.cosine,
        "stablesyncnet_confidence": fit.offset.confidence,
        "stablesyncnet_offset": float(-fit.offset.frames),  # here positive = too early, as SyncNet v2's
    }


def published_sync(networks: PublishedSync, recording: Recording, faces: FacePath | None, sound: np.ndarray) -> Scores:
    """LSE-C, LSE-D and offset of the judged face. Raises ``DataError``."""

    def frames() -> Iterator[np.ndarray]:
        return recording.pictures()

    cuts, target = (faces.cuts, faces.boxes) if faces is not None else ((), None)
    score = networks.target_score(frames, sound, cuts, target)
    return {"lse_c": score.confidence, "lse_d": score.distance, "av_offset": float(score.offset_frames)}


def opening_of(faces: FacePath) -> np.ndarray:
    """(N,) mouth opening; what was not seen is put in from the neighbours."""
    seen = np.isfinite(faces.landmarks).all(axis=(1, 2))
    opening = np.full(len(seen), np.nan)
    if not seen.any():
        raise DataError("no landmarks of the mouth", remedy="Choose another --detector.")
    opening[seen] = mouth_opening(faces.landmarks[seen])
    return fill_gaps(opening)


def mouth_figures(
    opening: np.ndarray, truth: np.ndarray, source: np.ndarray | None, sound: np.ndarray
) -> dict[str, Callable[[], float]]:
    """Figures of one row that are still to be computed, over the frames that all have; each may raise ``DataError``.

    ``opening``, ``truth``, ``source`` (N,) each its own length; ``source`` None if it is the truth; ``sound`` is what
    should be spoken.
    """
    count = min(len(opening), len(truth), *([] if source is None else [len(source)]))
    mine, true = opening[:count], truth[:count]
    figures: dict[str, Callable[[], float]] = {
        "opening_correlation": lambda: opening_correlation(mine, true),
        "opening_lag": lambda: float(_lag(mine, true)),
        "silence_movement": lambda: silence_movement(opening, speaking_frames(sound, len(opening))),
    }
    if source is not None:
        figures |= {
            "leak": lambda: opening_leak(mine, source[:count], true),
            "source_correlation": lambda: opening_correlation(mine, source[:count]),
        }
    return figures


def lmd(result: FacePath, truth: FacePath) -> float:
    """Over the frames in which both mouths are seen. Raises ``DataError`` if there is none."""
    count = min(len(result.landmarks), len(truth.landmarks))
    mine, true = result.landmarks[:count], truth.landmarks[:count]
    both = np.isfinite(mine).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    if not both.any():
        raise DataError("no frame in which both faces are seen", remedy="Choose another --detector.")
    return landmark_distance(mine[both], true[both])


def sound_figures(sound: np.ndarray, expected: np.ndarray) -> Scores:
    """ms. Raises as ``metrics.drift.audio_lag``."""
    lag = audio_lag(sound, expected, AUDIO_RATE)
    return {"sound_lag": 1000 * lag.start, "sound_drift": 1000 * lag.drift}


def picture_figures(prediction: np.ndarray, reference: np.ndarray) -> Scores:
    """Frames at 25 per second, of two sets of ``thumbnails``. Raises as ``metrics.drift.video_lag``."""
    lag = video_lag(prediction, reference)
    return {"picture_lag": lag.start, "picture_drift": lag.drift}


def face_of(picture: np.ndarray, matrix: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, 3) uint8 aligned face."""
    return to_image(align_face(picture, matrix, resolution).pixels)


def _lag(mine: np.ndarray, true: np.ndarray) -> int:
    if len(mine) <= 20:
        raise DataError("too short: less than 21 frames", remedy="Score longer clips.")
    return opening_lag(mine, true)


def thumbnails(recording: Recording) -> np.ndarray:
    """(N, 32 * 32) float32 grey levels, in which movement is compared."""
    size = (THUMBNAIL, THUMBNAIL)
    with closing(recording.pictures()) as pictures:
        small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).ravel() for each in small]).astype(np.float32)

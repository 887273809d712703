"""Whose track is scored, with which frames and which audio."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.metrics import published_sync as module
from latentsync.metrics.published_sync import PublishedSync
from latentsync.types import SyncScore

LEFT, RIGHT = [20, 20, 150, 150], [200, 20, 360, 180]  # the second is larger


@pytest.fixture
def scorer(monkeypatch):
    """Both faces in all of 120 frames; a score tells where its crops came from and how much audio came."""
    monkeypatch.setattr(module, "detect_faces", lambda network, batch: [np.array([LEFT, RIGHT], float) for _ in batch])

    def score(network, crops, audio):
        crops = list(crops)
        return SyncScore(float(np.mean([crop.mean() for crop in crops])), len(crops), len(audio) / 640)

    monkeypatch.setattr(module, "sync_score", score)
    return PublishedSync(None, None)


def frames():
    frame = np.zeros((300, 400, 3), np.uint8)
    frame[:, :200] = 50
    frame[:, 200:] = 100
    return [frame] * 120


def target(box: list[int]) -> np.ndarray:
    return np.tile(np.array(box, float), (120, 1))


AUDIO = np.zeros(120 * 640, np.float32)


def test_the_face_that_was_dubbed_is_scored_however_small(scorer) -> None:
    left = scorer.target_score(frames, AUDIO, (), target([60, 60, 100, 100]))
    right = scorer.target_score(frames, AUDIO, (), target([250, 60, 300, 100]))
    assert left.confidence < right.confidence
    assert (left.offset_frames, left.distance) == (120, 120)
    assert scorer.target_score(frames, AUDIO, ()) == right  # without a target the largest


def test_a_track_ends_with_its_shot(scorer) -> None:
    score = scorer.target_score(frames, AUDIO, (51,), target(LEFT))
    assert (score.offset_frames, score.distance) == (69, 69)


def test_a_face_that_has_no_track_is_not_replaced_by_another(scorer) -> None:
    with pytest.raises(DataError, match="dubbed face"):
        scorer.target_score(frames, AUDIO, (), np.full((120, 4), np.nan))


def test_no_face_at_all(scorer, monkeypatch) -> None:
    monkeypatch.setattr(module, "detect_faces", lambda network, batch: [np.zeros((0, 5)) for _ in batch])
    with pytest.raises(DataError, match="no track"):
        scorer.target_score(frames, AUDIO, ())

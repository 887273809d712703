"""What clips are scored by: the wiring of the published networks, and a sync network of this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentsync.data.talker_crops import TalkerCrops, make_talker_crops
from latentsync.errors import DataError
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics import published_sync
from latentsync.places import BUILTIN_SYNCNET
from latentsync.preprocess.steps.scorers import OwnSyncScorer, PublishedSyncScorer
from latentsync.preprocess.steps.step7_8_sync_and_quality import shifted
from latentsync.types import SyncScore
from tests.data.clips import talking_square
from tests.metrics.sync_networks import write_whole_face


def test_the_published_score_is_wired_to_tracks_and_their_sound(monkeypatch):
    """Two faces, one from frame 20 on: each is scored on its own frames and its own audio, and the mean counts."""
    frames = [np.full((300, 400, 3), i, np.uint8) for i in range(100)]
    boxes = {i: [[20, 20, 150, 150]] + ([[200, 20, 340, 160]] if i >= 20 else []) for i in range(100)}
    asked = []
    monkeypatch.setattr(published_sync, "load_s3fd", lambda path, device: "detector")
    monkeypatch.setattr(published_sync, "load_syncnet_v2", lambda path, device: "network")
    monkeypatch.setattr(
        published_sync, "detect_faces", lambda network, batch: [np.array(boxes[int(f[0, 0, 0])], float) for f in batch]
    )

    def score(network, crops, audio):
        asked.append((sum(1 for _ in crops), len(audio) // 640))
        return SyncScore(4.0 + len(asked), 2, 8.0)

    monkeypatch.setattr(published_sync, "sync_score", score)
    found = PublishedSyncScorer(Path(), "cpu")(frames, np.zeros(64_000, np.float32))
    assert asked == [(100, 100), (80, 80)]
    assert (found.confidence, found.offset_frames) == (5.5, 2)
    monkeypatch.setattr(published_sync, "detect_faces", lambda network, batch: [np.zeros((0, 5)) for _ in batch])
    with pytest.raises(DataError, match="no track"):
        PublishedSyncScorer(Path(), "cpu")(frames, np.zeros(64_000, np.float32))


def test_our_own_network_finds_offsets_to_the_frame(tmp_path):
    """On drawn people whom it has not been trained on, aligned as the pipeline does."""
    make_talker_crops(TalkerCrops(0, 2, 3.2, 64, seed=4_000_000), tmp_path, workers=1)
    scorer = OwnSyncScorer(BUILTIN_SYNCNET, "cpu")
    videos = sorted(tmp_path.glob("*.mp4"))
    for video, offsets in zip(videos, ((-6, 0, 6), (-1, 3)), strict=True):
        frames = [frame.pixels for frame in VideoFile(video).frames()]
        audio = np.rint(read_audio(video) * 32767).astype(np.int16)
        for offset in offsets:
            score = scorer(frames, shifted(audio, -offset).astype(np.float32) / 32768)
            assert score.offset_frames == offset, video
            assert score.confidence > 0.1, (video, offset)


def test_a_network_on_the_whole_face_scores_the_whole_face(tmp_path):
    network = write_whole_face(tmp_path / "whole.safetensors")
    seen = []
    scorer = OwnSyncScorer(tmp_path / "whole.safetensors", "cpu")
    scorer._sync.network.visual_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames, samples = talking_square(0, 60)
    assert -15 <= scorer(list(frames), samples[:, 0].astype(np.float32) / 32768).offset_frames <= 15
    assert seen[0].shape == (12, 48, 32, 32)
    assert network.config == scorer._sync.network.config

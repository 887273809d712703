"""Steps 7 and 8, and what they judge by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latentsync.data.talker_crops import TalkerCrops, make_talker_crops
from latentsync.errors import DataError
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics import published_sync
from latentsync.preprocess.clip_record import ClipRecord, StepInput
from latentsync.preprocess.steps.own_sync_scorer import OwnSyncScorer
from latentsync.preprocess.steps.published_scorers import PublishedSyncScorer
from latentsync.preprocess.steps.step7_8_scored import score_quality, score_sync, shifted
from latentsync.types import SyncScore
from tests.data.clips import talking_square
from tests.metrics.sync_networks import write_whole_face
from tests.preprocess.world import draw_talk, envelope_score, small_settings

BUILTIN = Path(__file__).parents[3] / "checkpoints" / "builtin" / "syncnet.safetensors"


def job(tmp_path, **drawn) -> StepInput:
    path = draw_talk(tmp_path / "clip.mp4", 2.0, sound_codec="flac", **drawn)
    (tmp_path / "scratch").mkdir()
    return StepInput(ClipRecord("0" * 32, "clip.mp4", 0, 50), path, tmp_path / "scratch", tmp_path / "faces.npz")


def networks(score=None, quality=60.0) -> SimpleNamespace:
    judge = (lambda frames, sound: score) if score is not None else envelope_score
    return SimpleNamespace(sync_scorer=judge, quality_scorer=lambda frames: quality)


@pytest.mark.parametrize("offset", range(-6, 7))
def test_offsets_are_found_and_put_right_to_the_frame(tmp_path, offset):
    work = job(tmp_path, seed=offset + 10, offset=offset)
    result = score_sync(work, small_settings(tmp_path), networks())
    assert result.figures["offset"] == offset
    (made,) = result.made
    assert (made.file is None) == (offset == 0)
    if offset:
        before, after = read_audio(work.file), read_audio(made.file)
        assert len(after) == 50 * 640
        late, early = max(offset, 0) * 640, max(-offset, 0) * 640
        kept = 50 * 640 - late - early
        assert np.array_equal(after[late : late + kept], before[early : early + kept])
        assert not after[:late].any()
        assert not after[len(after) - early :].any()


@pytest.mark.parametrize(
    ("score", "kind"),
    [
        (SyncScore(0.2, 0, 9.0), "out of sync"),
        (SyncScore(5.0, 7, 9.0), "far out of sync"),
        (SyncScore(5.0, -7, 9.0), "far out of sync"),
    ],
)
def test_what_does_not_fit_is_dropped(tmp_path, score, kind):
    result = score_sync(job(tmp_path), small_settings(tmp_path), networks(score))
    assert result.reason.partition(":")[0] == kind
    assert not result.made


def test_a_silent_clip_is_not_judged(tmp_path):
    work = job(tmp_path, silent=True)
    result = score_sync(work, small_settings(tmp_path), SimpleNamespace(sync_scorer=None))
    assert result.reason.startswith("silent")


def test_shifting_there_and_back_keeps_the_middle():
    sound = np.arange(1, 20 * 640 + 1).astype(np.int16)
    for frames in range(-6, 7):
        back = shifted(shifted(sound, frames), -frames)
        reach = abs(frames) * 640
        assert np.array_equal(back[reach : len(sound) - reach], sound[reach : len(sound) - reach])


@pytest.mark.parametrize(("quality", "kept"), [(39.9, False), (40.0, True)])
def test_quality_is_judged_by_three_frames(tmp_path, quality, kept):
    seen = []
    judge = SimpleNamespace(quality_scorer=lambda frames: seen.append(len(frames)) or quality)
    result = score_quality(job(tmp_path), small_settings(tmp_path), judge)
    assert (bool(result.made), seen) == (kept, [3])


def test_the_published_score_is_wired_to_tracks_and_their_sound(monkeypatch):
    """Two faces, one from frame 20 on: each is scored on its own frames and its own sound, and the mean counts."""
    frames = [np.full((300, 400, 3), i, np.uint8) for i in range(100)]
    boxes = {i: [[20, 20, 150, 150]] + ([[200, 20, 340, 160]] if i >= 20 else []) for i in range(100)}
    asked = []
    monkeypatch.setattr(published_sync, "load_s3fd", lambda path, device: "detector")
    monkeypatch.setattr(published_sync, "load_syncnet_v2", lambda path, device: "network")
    monkeypatch.setattr(
        published_sync, "detect_faces", lambda network, batch: [np.array(boxes[int(f[0, 0, 0])], float) for f in batch]
    )

    def score(network, crops, sound):
        asked.append((sum(1 for _ in crops), len(sound) // 640))
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
    judge = OwnSyncScorer(BUILTIN, "cpu")
    films = sorted(tmp_path.glob("*.mp4"))
    for film, offsets in zip(films, ((-6, 0, 6), (-1, 3)), strict=True):
        frames = [frame.pixels for frame in VideoFile(film).frames()]
        sound = np.rint(read_audio(film) * 32767).astype(np.int16)
        for offset in offsets:
            score = judge(frames, shifted(sound, -offset).astype(np.float32) / 32768)
            assert score.offset_frames == offset, film
            assert score.confidence > 0.1, (film, offset)


def test_a_network_on_the_whole_face_judges_the_whole_face(tmp_path):
    network = write_whole_face(tmp_path / "whole.safetensors")
    seen = []
    judge = OwnSyncScorer(tmp_path / "whole.safetensors", "cpu")
    judge._sync.network.visual_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames, samples = talking_square(0, 60)
    assert -15 <= judge(list(frames), samples[:, 0].astype(np.float32) / 32768).offset_frames <= 15
    assert seen[0].shape == (12, 48, 32, 32)
    assert network.config == judge._sync.network.config

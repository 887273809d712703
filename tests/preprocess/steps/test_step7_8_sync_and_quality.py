"""Steps 7 and 8: which clips pass, and audio that is moved to where it fits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from latentsync.media.audio import read_audio
from latentsync.preprocess.clip_record import ClipRecord, StepInput
from latentsync.preprocess.steps.step7_8_sync_and_quality import score_quality, score_sync, shifted
from latentsync.types import SyncScore
from tests.preprocess.world import draw_talk, envelope_score, small_settings


def job(tmp_path, **drawn) -> StepInput:
    path = draw_talk(tmp_path / "clip.mp4", 2.0, sound_codec="flac", **drawn)
    (tmp_path / "scratch").mkdir()
    return StepInput(ClipRecord("0" * 32, "clip.mp4", 0, 50), path, tmp_path / "scratch", tmp_path / "faces.npz")


def networks(score=None, quality=60.0) -> SimpleNamespace:
    scorer = (lambda frames, audio: score) if score is not None else envelope_score
    return SimpleNamespace(sync_scorer=scorer, quality_scorer=lambda frames: quality)


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


def test_a_silent_clip_is_not_scored(tmp_path):
    work = job(tmp_path, silent=True)
    result = score_sync(work, small_settings(tmp_path), SimpleNamespace(sync_scorer=None))
    assert result.reason.startswith("silent")


def test_shifting_there_and_back_keeps_the_middle():
    audio = np.arange(1, 20 * 640 + 1).astype(np.int16)
    for frames in range(-6, 7):
        back = shifted(shifted(audio, frames), -frames)
        reach = abs(frames) * 640
        assert np.array_equal(back[reach : len(audio) - reach], audio[reach : len(audio) - reach])


@pytest.mark.parametrize(("quality", "kept"), [(39.9, False), (40.0, True)])
def test_quality_is_scored_by_three_frames(tmp_path, quality, kept):
    seen = []
    scorer = SimpleNamespace(quality_scorer=lambda frames: seen.append(len(frames)) or quality)
    result = score_quality(job(tmp_path), small_settings(tmp_path), scorer)
    assert (bool(result.made), seen) == (kept, [3])

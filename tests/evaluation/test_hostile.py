"""Files of strangers among the results of an evaluation: each is a reason in the report or is scored, within limits."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import VideoError
from latentsync.evaluation.recordings import ClipFiles, open_clip, open_recording
from latentsync.evaluation.settings import RESULT, TRUTH, EvaluationSettings, Setting
from tests.media.hostile import HOSTILE
from tests.media.synthetic import tone, write_clip

REFUSED = ["hls.mp4", "concat.mp4", "late.mov", "first.avi", "late libx264", "fragment.mp4", "far apart.mkv"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_result_is_a_reason(tmp_path, name):
    truth = write_clip(tmp_path / "truth.mp4", 5)
    clip = open_clip(ClipFiles("a", HOSTILE[name].make(tmp_path), truth, None), Setting.RECONSTRUCTION)
    assert TRUTH in clip.recordings
    if RESULT in clip.unopened:
        assert clip.unopened[RESULT].startswith("unreadable: ")
    else:  # a frame that is too large, later on
        with pytest.raises(VideoError, match="megapixels"):
            list(clip.recordings[RESULT].video.frames())


def test_what_is_decoded_counts(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 50, sound=tone(2.0))
    limits = EvaluationSettings(max_hours=1 / 3600).limits
    assert (
        "more than 1 s" in open_recording(write_clip(tmp_path / "b.mp4", 75, sound=tone(3.0)), limits=limits).no_audio
    )
    assert not open_recording(path, limits=EvaluationSettings().limits).no_audio
    with pytest.raises(VideoError, match="0.0 megapixels") as refused:
        open_recording(path, limits=EvaluationSettings(max_megapixels=0.001).limits)
    assert "--max_megapixels" in refused.value.remedy


def test_audio_that_is_said_to_begin_in_years_takes_no_memory(tmp_path, monkeypatch):
    from latentsync.evaluation import recordings

    path = write_clip(tmp_path / "a.mp4", 50, sound=tone(2.0))
    monkeypatch.setattr(recordings, "audio_start", lambda path: 10**9)
    audio = open_recording(path).audio
    assert audio is not None and len(audio) < 5 * 16_000 and not np.any(audio[: 2 * 16_000])

"""The words of the page."""

from __future__ import annotations

from pathlib import Path

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import VideoError
from latentsync.inference.job.progress import Progress
from latentsync.inference.job.report import RunReport
from latentsync.inference.options import PRESETS
from latentsync.inference.record import FrameRange, RunRecord
from latentsync.inference.timeline import LengthMode
from latentsync.page import wording
from latentsync.page.jobs import Waiting


def test_progress_says_stage_share_and_time_left():
    words = wording.progress(Progress("dubbing", 30, 120, 12.4))
    assert "Dubbing: 25%, about 12 s left" in words and 'value="0.250"' in words
    assert "Loading the models" in wording.progress(Progress("loading", 0, 120))
    assert "Waiting for 3 other jobs" in wording.progress(Waiting(3)) and "<progress" not in wording.progress(
        Waiting(3)
    )
    assert "Waiting for another job to end" in wording.progress(Waiting(1))


def test_an_error_names_files_as_the_visitor_knows_them():
    path = Path("/srv/secret/abc/film.mp4")
    error = VideoError(f"{path} is a web page.", remedy="Download the file itself.")
    assert wording.sentence(error, path) == "film.mp4 is a web page. Download the file itself."
    assert "<b>" not in wording.status("<b>film</b>")


def test_a_report_in_words():
    record = RunRecord(frames=50, passed_through=[FrameRange(10, 14, "no face")])
    with record.clock.measure("generate"):
        pass
    account = RunReport(
        "v", "a", "o", 2.0, 25.0, 4.0, 0.5, record, "cpu", "float32", {"seed": 7}, {}, {}, {}, ["careful"]
    )
    words = wording.report(account, start=3.0)
    assert "Preview from 3.0 s" in words and "2.0 s for a second of video" in words and "seed 7" in words
    assert "5 frames are as they were: 3.40-3.60 s (no face)." in words
    assert "| generating the mouth | 0.0 |" in words and "| encoding | 0.5 |" in words and "Note: careful." in words


def test_a_preset_says_what_it_costs(monkeypatch):
    assert wording.preset("exact") == "Exact (20 steps, as published)"
    assert wording.preset("builtin").startswith("Built-in (")
    assert len({wording.preset(name) for name in PRESETS}) == len(PRESETS)
    monkeypatch.setitem(PRESETS, "hasty", SamplerSettings(steps=4, cache_interval=2))
    assert wording.preset("hasty") == "Hasty (4 steps, 1 in 2 in full)"


def test_there_are_words_for_every_way_of_fitting_the_length():
    assert set(wording.LENGTHS) == {mode.value for mode in LengthMode}

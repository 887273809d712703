"""Where the windows of a result meet, as the report beside it says."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.evaluation.recordings import WindowJoins, joins_of
from latentsync.media.rate import at_rate
from latentsync.types import ArrayFrame

STARTS = [15, 30, 45, 60]


def write_report(folder, fps=25, shared=0):
    windows = {"length": 16, "shared": shared, "starts": [0, *STARTS], "joins": STARTS}
    (folder / "a.b.report.json").write_text(json.dumps({"fps": float(fps), "windows": windows}))
    return folder / "a.b.mp4"


def test_without_a_report_nothing_is_known(tmp_path):
    assert joins_of(tmp_path / "a.b.mp4") is None


@pytest.mark.parametrize("fps", [25, Fraction(24000, 1001), 30, 50, Fraction(60000, 1001), Fraction(25, 2)])
def test_a_join_is_at_the_first_frame_that_shows_the_later_window(tmp_path, fps):
    source = (ArrayFrame(k, k / Fraction(fps), np.full((1, 1, 3), k, np.uint8)) for k in range(80))
    shown = [int(frame.pixels[0, 0, 0]) for frame in at_rate(source, int(80 / fps * 25))]
    expected = tuple(next(n for n, number in enumerate(shown) if number >= start) for start in STARTS)
    assert joins_of(write_report(tmp_path, fps)) == WindowJoins(expected, 0)


@pytest.mark.parametrize(("fps", "shared", "seen"), [(25, 1, 1), (50, 2, 1), (24, 4, 5), (Fraction(25, 2), 1, 2)])
def test_shared_frames_are_those_at_25_a_second(tmp_path, fps, shared, seen):
    assert joins_of(write_report(tmp_path, fps, shared)).shared == seen


@pytest.mark.parametrize("text", ["", "[]", '{"fps": 25}', '{"fps": 0, "windows": {}}', '{"fps": 25, "windows": []}'])
def test_a_report_that_does_not_say_it_is_refused(tmp_path, text):
    (tmp_path / "a.report.json").write_text(text)
    with pytest.raises(DataError, match="does not say where the windows of a.mp4 meet") as refused:
        joins_of(tmp_path / "a.mp4")
    assert "--report" in refused.value.remedy

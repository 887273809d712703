"""An input folder with files that somebody has made to do harm: each is named, and nothing else suffers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from latentsync.errors import DataError
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import file_records
from latentsync.preprocess.settings import LimitSettings
from tests.media.hostile import HOSTILE
from tests.preprocess.world import (
    DrawnNetworks,
    contents,
    draw_talk,
    preprocess,
    reasons_of,
    require_agreement,
    small_settings,
)

FINAL = "high_visual_quality"


def test_hostile_files_are_named_and_harm_nothing_else(tmp_path):
    alone, raw = tmp_path / "alone", tmp_path / "raw"
    names = {}
    for folder in (alone, raw):
        draw_talk(folder / "good.mp4", 1.4)
    for number, (name, entry) in enumerate(HOSTILE.items()):
        (raw / f"{number:03d}").mkdir()
        names[name] = str(entry.make(raw / f"{number:03d}").relative_to(raw))
    preprocess(small_settings(alone, tmp_path / "out alone"), DrawnNetworks)
    preprocess(small_settings(raw, tmp_path / "out"), DrawnNetworks)
    reasons = reasons_of(tmp_path / "out", raw)
    assert {name: reasons[file] for name, file in names.items() if not reasons[file]} == {}
    assert "crash" not in reasons.values()
    assert contents(tmp_path / "out" / FINAL) == contents(tmp_path / "out alone" / FINAL)
    require_agreement(tmp_path / "out", raw)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (LimitSettings(hours=1 / 3600), "unreadable: .* lasts more than 1 s.*"),
        (LimitSettings(megapixels=0.01), "unreadable: .*megapixels are taken.*"),
        (LimitSettings(gigabytes=1e-6), "too large: .* GB where 1e-06 are taken"),
    ],
)
def test_a_file_beyond_a_limit_is_refused_until_the_limit_is_raised(tmp_path, limits, reason):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    settings = small_settings(raw)
    with pytest.raises(DataError, match="Not one clip"):
        preprocess(replace(settings, limits=limits), DrawnNetworks)
    (record,) = file_records(Layout.of(raw, tmp_path))
    assert pytest.approx(record.duration) == 0
    assert re.match(reason, record.reason), record.reason
    preprocess(settings, DrawnNetworks)
    assert len(contents(tmp_path / FINAL)) == 1

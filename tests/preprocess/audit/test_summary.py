"""What is said of a result: numbers, a page, a verdict."""

from __future__ import annotations

import json
import os
import re

import pytest

from latentsync.cli.data import main
from latentsync.data.clip_reader import FrameReader
from latentsync.data.manifest import read_manifest
from latentsync.errors import DataError
from latentsync.preprocess.audit.summary import Histogram, even_edges, verdict
from latentsync.preprocess.engine.account import StepAccount
from tests.preprocess.world import DrawnNetworks, draw_talk, preprocess, small_settings


def test_an_audit_is_a_page_of_its_own_and_json(result, capsys):
    assert main(["audit", str(result), "--speakers", "folder"]) == 0
    page = (result / "manifest" / "audit.html").read_text()
    assert not re.search(r"https?://|<script|<link", page)
    assert page.count("data:image/png") >= 6
    assert page.count("data:image/jpeg") == 3  # the two pieces without a face, and the short one
    assert page.count("words.txt<br>unreadable: ") == 1
    headings = re.findall("<h3>(.*?):", page)
    assert headings == ["readable", "readable", "high_resolution"]
    assert "&lt;none&gt;" in page
    assert "<none>" not in page
    values = json.loads((result / "manifest" / "audit.json").read_text())
    accounts = {each["step"]: each for each in values["accounts"]}
    assert accounts["readable"]["lost"]["unreadable"]["clips"] == 1
    assert accounts["high_resolution"]["lost"]["no face"]["clips"] == 2
    assert accounts["high_visual_quality"]["kept_clips"] == 5
    assert set(values["speakers"]) == {"Ann", "Bob"}
    assert sum(values["histograms"]["offset"]["counts"]) == 5
    assert values["recordings"] == 3
    assert "2 speakers" in capsys.readouterr().out


def test_names_may_be_any_bytes(tmp_path, capsys):
    raw = tmp_path / "raw"
    for number, folder in enumerate((b"caf\xe9", b"b")):
        draw_talk(raw / os.fsdecode(folder) / f"{number}.mp4", 1.4, seed=number)
    draw_talk(raw / os.fsdecode(b"gar\xe7on.mp4"), 0.6)
    preprocess(small_settings(raw), DrawnNetworks)
    assert "gar\\udce7on.mp4" in (tmp_path / "manifest" / "account.txt").read_text("utf-8")
    assert main(["audit", str(tmp_path)]) == 0
    assert "gar\\udce7on.mp4" in (tmp_path / "manifest" / "audit.html").read_text("utf-8")
    examples = json.loads((tmp_path / "manifest" / "audit.json").read_text("utf-8"))["examples"]
    assert [each["name"] for each in examples] == [os.fsdecode(b"gar\xe7on.mp4")]
    assert main(["make_manifest", str(tmp_path), "--validation_share", "0.5", "--speakers", "folder"]) == 0
    clips = read_manifest(tmp_path / "clips.jsonl")
    assert {clip.speaker for clip in clips.clips} == {"caf\ufffd", "b"}
    for clip in clips.clips:
        assert FrameReader()(clip, 0, clip.frames).shape == (35, 96, 96, 3)


def test_hours_add_up(result):
    main(["audit", str(result)])
    accounts = json.loads((result / "manifest" / "audit.json").read_text())["accounts"]
    for before, after in zip(accounts[:-1], accounts[1:], strict=True):
        assert after["clips"] == before["kept_clips"]
        assert after["seconds"] == pytest.approx(before["kept_seconds"], abs=0.1)
    for each in accounts:
        lost = sum(reason["seconds"] for reason in each["lost"].values())
        assert each["seconds"] == pytest.approx(each["kept_seconds"] + lost, abs=0.1)


def test_a_folder_without_a_result_is_refused(tmp_path, capsys):
    assert main(["audit", str(tmp_path)]) == DataError.exit_code
    assert "no result" in capsys.readouterr().err


def offsets(*values: int) -> Histogram:
    histogram = Histogram("", "", even_edges(-15.5, 15.5, 1))
    for value in values:
        histogram.add(value)
    return histogram


@pytest.mark.parametrize(
    ("hours", "speakers", "words"), [(0.1, 1, "no more"), (2.1, 3, "not for a new language"), (30, 300, "language")]
)
def test_the_verdict_in_words(hours, speakers, words):
    account = StepAccount("high_visual_quality", 10, hours * 3600, 10, hours * 3600)
    lines = verdict([account], speakers, 5, offsets(0, 0, 1))
    assert f"{hours:.2f} h from {speakers} speakers" in lines[0]
    assert words in lines[0]
    assert any("Few people" in line for line in lines) == (hours == 2.1)


def test_the_verdict_names_offsets_and_the_greatest_loss():
    account = StepAccount("high_resolution", 0)
    account.add("a", 3000.0, (0, 0.0), "small face: 20 px", 1.0)
    account.add("b", 600.0, (1, 600.0), "", 1.0)
    text = " ".join(verdict([account], 0, 2, offsets(5, 5, -4, 0)))
    assert "Only 25%" in text
    assert "drops 83%" in text
    assert "'small face'" in text


def test_a_histogram_counts_everything_once():
    histogram = Histogram("", "", [0, 1, 2])
    for value in (-5, 0, 0.99, 1, 7):
        histogram.add(value)
    assert histogram.counts == [3, 2]
    assert histogram.n == 5
    assert histogram.mean == pytest.approx(3.99 / 5)
    assert Histogram("", "", [0, 1]).mean is None

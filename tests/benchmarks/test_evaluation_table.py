"""The tables of docs/experiments/evaluation-YYYY-MM.md say what the reports say."""

from __future__ import annotations

import json
import sys

from benchmarks.evaluation_table import clips, main, means
from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import FIGURES, SET_FIGURES
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.report import Evaluation
from latentsync.evaluation.settings import RESULT, ROWS, EvaluationSettings
from latentsync.evaluation.summary import summarise


def report(**figures: float) -> dict:
    """Of two clips in which a result has the same figures, and nothing else is measured."""
    absent = dict.fromkeys(FIGURES, Missing("weights missing: some.pth; fetch with: a command"))
    rows = dict.fromkeys(ROWS, absent) | {RESULT: absent | figures}
    features = {name: dict.fromkeys(ROWS, Missing("none")) for name in SET_FIGURES}
    scored = [ClipScores(name, rows, (), {}, features) for name in ("a", "b")]
    return json.loads(Evaluation(EvaluationSettings(), {}, scored, summarise(scored, 1), [], ()).to_json())


def test_means_of_one_report():
    lines = {line[0]: line[1:] for line in means(report(lmd=2.345678, psnr_inside=float("inf")))}
    assert lines["LMD (px at 256) ↓"] == ["2.35", "–", "–"]
    assert lines["PSNR inside (dB) ↑"][0] == "∞"
    assert lines["LSE-C ↑"] == ["weights missing: some.pth", "", ""]


def test_several_reports_beside_one_another():
    lines = clips({"one": report(lmd=1.0), "other": report(lmd=2.0)})
    assert lines == [
        ["figure (a / b)", "one", "other", "ground truth"],
        ["LMD (px at 256) ↓", "1 / 1", "2 / 2", "– / –"],
    ]


def test_a_table_takes_its_place_in_the_document(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps(report(lmd=1.0)))
    document = tmp_path / "page.md"
    other = "<!-- measured -->\nkept\n<!-- end of measured -->\n"
    document.write_text(f"{other}<!-- two -->\nold\n<!-- end of two -->\nafter\n")
    reports = [f"{name}={tmp_path / name}.json" for name in ("one", "other")]
    monkeypatch.setattr(sys, "argv", ["evaluation_table", *reports, "--document", str(document), "--mark", "two"])
    main()
    text = document.read_text()
    assert text.startswith(other)
    assert "old" not in text
    assert "| LMD (px at 256) ↓ | 1 / 1 | 1 / 1 | – / – |" in text
    assert text.endswith("<!-- end of two -->\nafter\n")

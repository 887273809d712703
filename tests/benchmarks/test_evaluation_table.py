"""The tables of docs/evaluation.md say what the reports say."""

from __future__ import annotations

import json

from benchmarks.evaluation_table import clips, means
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

"""The tables of docs/evaluation.md say what the reports say."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.evaluation_table import clips, means
from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import FIGURES
from latentsync.evaluation.settings import RESULT, ROWS
from latentsync.evaluation.summary import summarise


def report(**figures: float) -> dict:
    """Two clips in which a result has the same figures, and nothing else is measured."""
    absent = dict.fromkeys(FIGURES, "weights missing: some.pth; fetch with: a command")
    rows = {row: dict(absent) for row in ROWS}
    rows[RESULT] |= figures
    features = {"fid": dict.fromkeys(ROWS, "none"), "fvd": dict.fromkeys(ROWS, "none")}
    scored = [ClipScores(name, rows, (), {}, features) for name in ("a", "b")]
    summary = {row: {k: asdict(v) for k, v in found.items()} for row, found in summarise(scored, 1).items()}
    return {"summary": summary, "clips": [{"name": clip.name, "rows": clip.rows} for clip in scored]}


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

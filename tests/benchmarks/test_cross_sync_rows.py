"""Figures of dubs whose true result is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cross_sync_rows import MouthTruth, score_mouth, summarise, table

N = 200


def mouths() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the audio asks for, what the source did, and who speaks when."""
    new, source = (np.convolve(row, np.hanning(7), "same") for row in np.random.default_rng(3).normal(size=(2, N)))
    speaking = np.ones(N, bool)
    speaking[80:110] = False
    new[80:110] = new[80]
    return new, source, speaking


def test_a_perfect_dub_and_an_unchanged_video():
    new, source, speaking = mouths()
    truth = MouthTruth(new, source, speaking)
    perfect, unchanged = score_mouth(3 * new + 1, truth), score_mouth(source, truth)
    assert perfect["correlation"] == pytest.approx(1)
    assert abs(perfect["leak"]) < 1e-9
    assert perfect["silence"] == pytest.approx(0, abs=1e-12)
    assert perfect["lag"] == 0
    assert unchanged["leak"] > 0.9
    assert abs(unchanged["correlation"]) < 0.4
    assert unchanged["silence"] > 0.3
    assert score_mouth(np.roll(new, 2), truth)["lag"] == 2


def test_a_mouth_that_never_moves_has_no_scores():
    new, source, speaking = mouths()
    found = score_mouth(np.zeros(N), MouthTruth(new, source, speaking))
    assert all(np.isnan(value) for value in found.values())


def test_the_worst_clip_is_the_worst_in_the_sense_of_its_figure():
    nan = float("nan")
    clips = [
        {"result": {"correlation": 0.9, "leak": 0.1, "lag": -2.0, "lpips": nan}, "mean face": {"psnr": 20.0}},
        {"result": {"correlation": 0.5, "leak": 0.3, "lag": 1.0, "lpips": 0.2}},
    ]
    summary = summarise(clips)
    found = summary["result"]
    assert (found["correlation"]["mean"], found["correlation"]["worst"]) == (pytest.approx(0.7), 0.5)
    assert (found["leak"]["worst"], found["lag"]["worst"]) == (0.3, -2.0)
    assert found["lpips"] == {"measured": 0.5, "mean": 0.2, "worst": 0.2}
    lines = table(summary, ["correlation", "psnr"]).splitlines()
    assert lines[0] == "| | correlation | psnr |"
    assert lines[2] == "| result | 0.7 (0.5) | – |"
    assert lines[3] == "| mean face | – | 20 (20) |"

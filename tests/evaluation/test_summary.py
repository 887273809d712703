"""From clips to the set: intervals, failures in the denominator, infinite values, Fréchet distances."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import FIGURES
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.page import evaluation_page
from latentsync.evaluation.report import Evaluation
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH, EvaluationSettings
from latentsync.evaluation.summary import failures, summarise
from latentsync.metrics.frechet import frechet_distance

INFINITE = float("inf")


NO_WEIGHTS = Missing("no weights")


def clip(name: str, result: dict, features: np.ndarray | Missing = NO_WEIGHTS, **others) -> ClipScores:
    """Values that are texts are reasons."""
    rows = {row: dict.fromkeys(FIGURES, 0.5) for row in ROWS}
    for row, values in ((RESULT, result), (TRUTH, others.get("truth", {})), (SOURCE, others.get("source", {}))):
        rows[row] |= {name: Missing(value) if isinstance(value, str) else value for name, value in values.items()}
    base = features if isinstance(features, Missing) else features + 1
    both = {RESULT: features, TRUTH: base, SOURCE: base}
    return ClipScores(name, rows, (), {RESULT: "0" * 64}, {"fid": both, "fvd": dict.fromkeys(ROWS, NO_WEIGHTS)})


def evaluation(clips: list[ClipScores]) -> Evaluation:
    return Evaluation(EvaluationSettings(), {"a.pt": "1"}, clips, summarise(clips, 0), failures(clips), ("a note",))


def test_failures_are_in_the_denominator() -> None:
    clips = [clip("a", {"lse_c": 6.0}), clip("b", {"lse_c": 3.0}), clip("c", {"lse_c": "no face", "lse_d": "no face"})]
    found = summarise(clips, 0)[RESULT]
    assert (found["lse_c"].mean, found["lse_c"].mean_with_failures) == (4.5, 3.0)
    assert (found["lse_c"].measured, found["lse_c"].failed, found["lse_c"].clips) == (2, 1, 3)
    assert found["lse_d"].mean_with_failures is None  # there is no worst distance
    assert found["lse_c"].worst == "b"
    (failure,) = failures(clips)
    assert (failure.clip, failure.reason, failure.figures) == ("c", "no face", ("lse_c", "lse_d"))


def test_what_nobody_has_is_no_failure() -> None:
    missing = {"lse_c": "weights missing: x; fetch with: y"}
    clips = [clip("a", missing, truth=missing, source=missing)]
    assert failures(clips) == []
    found = summarise(clips, 0)[RESULT]["lse_c"]
    assert (found.measured, found.failed, found.mean, found.reason) == (0, 0, None, missing["lse_c"])


def test_intervals_hold_the_mean_and_are_seeded() -> None:
    rng = np.random.default_rng(0)
    clips = [clip(str(k), {"seam": float(value)}) for k, value in enumerate(rng.normal(2, 1, 40))]
    one, two, other = (summarise(clips, seed)[RESULT]["seam"] for seed in (0, 0, 1))
    assert one == two
    assert one != other
    assert one.low < one.mean < one.high
    assert 0.3 < one.high - one.low < 1.2


def test_equal_images_do_not_swallow_the_mean() -> None:
    clips = [clip("a", {"psnr_inside": INFINITE}), clip("b", {"psnr_inside": 30.0}), clip("c", {"psnr_inside": 20.0})]
    found = summarise(clips, 0)[RESULT]["psnr_inside"]
    assert (found.mean, found.infinite, found.measured, found.worst) == (25.0, 1, 3, "c")
    assert summarise(clips[:1], 0)[RESULT]["psnr_inside"].mean == INFINITE


@pytest.mark.parametrize(("name", "worst"), [("leak", "b"), ("sharpness", "b"), ("lmd", "c"), ("ssim_inside", "b")])
def test_the_worst_clip_is_the_one_farthest_from_the_best(name: str, worst: str) -> None:
    clips = [clip("a", {name: 0.1}), clip("b", {name: -0.9}), clip("c", {name: 0.5})]
    assert summarise(clips, 0)[RESULT][name].worst == worst


def test_frechet_distances_are_those_of_all_samples_together() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(6, 4)).astype(np.float32) for _ in range(3)]
    clips = [clip(str(k), {}, part) for k, part in enumerate(parts)]
    found = summarise(clips, 0)
    together = np.concatenate(parts)
    assert found[RESULT]["fid"].mean == pytest.approx(frechet_distance(together, together + 1))
    assert found[TRUTH]["fid"].mean == 0
    assert found[RESULT]["fvd"].reason == "no weights"


def test_json_is_strict_and_whole() -> None:
    text = evaluation([clip("a", {"psnr_inside": INFINITE}), clip("b", {"lse_c": "no face"})]).to_json()
    values = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values["clips"][0]["rows"][RESULT]["psnr_inside"] == "inf"
    assert values["failures"] == [{"clip": "b", "reason": "no face", "figures": ["lse_c"]}]
    assert values["weights"] == {"a.pt": "1"}
    assert set(values["settings"]) >= {"setting", "seed", "mask", "stride"}


def test_csv_has_a_line_for_everything() -> None:
    found = evaluation([clip("a", {"psnr_inside": INFINITE, "lse_c": "no, face"})])
    lines = found.clips_csv().splitlines()
    assert len(lines) == 1 + len(ROWS) * len(FIGURES)
    assert 'a,result,lse_c,,"no, face"' in lines
    assert "a,result,psnr_inside,inf," in lines
    assert len(found.summary_csv().splitlines()) == 1 + len(ROWS) * (len(FIGURES) + 2)


def test_the_page_needs_nothing_and_escapes_names(tmp_path) -> None:
    equal = {"psnr_outside": INFINITE}
    clips = [clip("<a>", {"seam": 3.0}, truth=equal), clip("b", {"lse_c": "<no> face", "lmd": 2.0}, truth=equal)]
    page = evaluation_page(evaluation(clips), {"<a>": tmp_path / "none.png", "b": tmp_path / "none.png"})
    assert "<a>" not in page
    assert "&lt;a&gt;" in page
    assert "<no>" not in page
    assert not any(each in page for each in ("http://", "https://", "<script", "<link"))
    assert "∞" in page
    assert "a note" in page
    assert page.count("data:image/png") == 2  # of the two figures in which anything differs
    assert "1 of 2 results lack" in page

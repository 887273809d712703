"""The table of figures, and what a row gets where something is missing."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import get_type_hints

import pytest

from latentsync.errors import DataError
from latentsync.evaluation.figures import FIGURES, SET_FIGURES, UNUSABLE, Figure, Premise, RowInputs
from latentsync.evaluation.missing import Missing, attempt, first
from latentsync.evaluation.networks import EvaluationNetworks
from latentsync.evaluation.recordings import Recording
from latentsync.evaluation.settings import EvaluationSettings

# What readers of evaluation.json and clips.csv go by: this list may only grow.
NAMES = (
    "lse_c", "lse_d", "av_offset", "stablesyncnet_cosine", "stablesyncnet_confidence", "stablesyncnet_offset", "faces",
    "lmd", "opening_correlation", "opening_lag", "leak", "source_correlation", "silence_movement", "psnr_inside",
    "psnr_outside", "ssim_inside", "ssim_outside", "lpips_inside", "lpips_outside", "temporal_error", "flicker",
    "sharpness", "seam", "hyperiqa", "csim", "length", "sound_length", "sound_lag", "sound_drift", "picture_lag",
    "picture_drift", "lip_color", "smudge", "join_ratio",
)  # fmt: skip


def test_the_names_stay() -> None:
    assert tuple(FIGURES)[: len(NAMES)] == NAMES
    assert tuple(SET_FIGURES)[:2] == ("fid", "fvd")


@pytest.mark.parametrize("figure", [*FIGURES.values(), *SET_FIGURES.values()], ids=lambda figure: figure.name)
def test_needs_are_inputs_of_a_row(figure: Figure) -> None:
    kinds = {"networks": EvaluationNetworks, "settings": EvaluationSettings, "recording": Recording}
    known = {field.name for field in fields(RowInputs)}
    for need in figure.needs:
        name, _, part = need.partition(".")
        assert name in known
        assert not part or part in get_type_hints(kinds[name]) or hasattr(kinds[name], part), need


def figure(**changes) -> Figure:
    values = {"needs": ("one", "other"), "compute": lambda one, other: one / other, "better": "higher"} | changes
    return Figure("name", "title", "", tells="", **values)


def inputs(one=6.0, other=2.0, **changes) -> SimpleNamespace:
    values = {"mouth": None, "is_reference": False, "unmet": {}} | changes
    return SimpleNamespace(one=one, other=other, **values)


def test_a_figure_is_computed_from_its_needs() -> None:
    assert figure().value(inputs()) == 3
    assert figure(compute=lambda one, other: float("nan")).value(inputs()) == Missing("not a number")


def test_the_first_need_that_is_missing_says_why() -> None:
    assert figure().value(inputs(Missing("no one"), Missing("no other"))) == Missing("no one")
    assert figure().value(inputs(other=Missing("no other"))) == Missing("no other")
    assert figure().value(inputs(other=Missing())) == Missing(UNUSABLE)


def test_a_named_error_is_the_reason_and_a_fault_of_ours_is_raised() -> None:
    def too_short(one: float, other: float) -> float:
        raise DataError("too short", remedy="Score longer clips.")

    assert figure(compute=too_short).value(inputs()) == Missing("too short")
    with pytest.raises(ZeroDivisionError):
        figure().value(inputs(other=0))


def test_what_does_not_apply_is_not_computed_but_a_missing_need_goes_before() -> None:
    unmet = {Premise.TARGET: "does not apply"}
    conditional = figure(premise=Premise.TARGET)
    assert conditional.value(inputs()) == 3
    assert conditional.value(inputs(unmet=unmet)) == Missing("does not apply")
    assert conditional.value(inputs(Missing("no one"), unmet=unmet)) == Missing("no one")
    assert conditional.value(inputs(Missing(), unmet=unmet)) == Missing("does not apply")


def test_a_row_is_perfect_beside_itself_if_it_has_what_is_needed() -> None:
    perfect = figure(of_itself=1.0)
    assert perfect.value(inputs(is_reference=True)) == 1
    assert perfect.value(inputs(Missing("no one"), is_reference=True)) == Missing("no one")


def test_without_a_face_that_is_the_reason() -> None:
    lost = Missing("no face")
    assert figure(of_the_face=True).value(inputs(Missing("no one"), mouth=lost)) == lost
    assert figure().value(inputs(Missing("no one"), mouth=lost)) == Missing("no one")
    assert figure(of_the_face=True).value(inputs(mouth=lost)) == 3


def test_what_needs_something_missing_is_missing_for_the_same_reason() -> None:
    assert attempt(lambda a, b: a + b, 1, 2) == 3
    assert attempt(lambda a, b: a + b, Missing("a"), Missing("b")) == Missing("a")
    assert first(Missing("a"), 2, 3) == 2
    assert first(Missing(), Missing("b"), Missing("c")) == Missing("b")
    assert first(Missing(), Missing()) == Missing()

"""The Fréchet distance: recorded numbers, exact cases and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.metrics.frechet import frechet_distance
from tests.golden import golden_arrays


def normal(n: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


@pytest.mark.parametrize("case, tolerance", [("full_rank", 1e-9), ("fewer_than_dims", 1e-6)])
def test_recorded_numbers(case: str, tolerance: float) -> None:
    golden = golden_arrays("evaluation/frechet")
    distance = frechet_distance(golden[f"{case}_fake"], golden[f"{case}_real"])
    assert distance == pytest.approx(golden[f"{case}_fvd"][0], rel=tolerance)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_symmetry_and_invariance(n: int, m: int, width: int, seed: int) -> None:
    a, b = normal(n, width, seed), normal(m, width, seed + 1)
    distance = frechet_distance(a, b)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    assert distance >= 0
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(a @ turn + 3, b @ turn + 3) == pytest.approx(distance, rel=1e-7, abs=1e-7)
    assert frechet_distance(a[::-1], b) == pytest.approx(distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(2 * a, 2 * b) == pytest.approx(4 * distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9 * (1 + np.square(a).sum()))


def test_a_shift_counts_by_its_square() -> None:
    a = normal(50, 6, 0)
    assert frechet_distance(a, a + np.arange(6)) == pytest.approx(55, rel=1e-9)


def test_one_dimension_in_closed_form() -> None:
    a, b = normal(30, 1, 0), normal(20, 1, 1)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "a, b, message",
    [
        (np.zeros((1, 4)), np.zeros((5, 4)), "at least two"),
        (np.zeros((5, 4)), np.zeros((5, 3)), r"\(n, D\)"),
        (np.full((5, 4), np.nan), np.zeros((5, 4)), "finite"),
    ],
)
def test_what_has_no_distance(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)

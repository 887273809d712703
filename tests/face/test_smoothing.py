import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.face.smoothing import smooth_points

TIMES = np.arange(21) / 25


def wave(times: np.ndarray, hertz: float, pixels: float) -> np.ndarray:
    return np.stack([pixels * np.sin(2 * np.pi * hertz * times), np.zeros_like(times)], axis=-1)[:, None]


@settings(max_examples=50, deadline=None)
@given(
    position=st.integers(0, 20),
    velocity=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    uneven=st.integers(0, 1000),
)
def test_steady_motion_passes_unchanged_at_any_place_and_for_uneven_times(position, velocity, uneven):
    times = TIMES + np.random.default_rng(uneven).uniform(-0.015, 0.015, 21)
    points = 100 + times[:, None, None] * np.array(velocity)[None, None]
    assert np.abs(smooth_points(times, points, position) - points[position]).max() < 1e-6


def test_the_tremble_of_a_still_head_shrinks_to_a_third():
    rng = np.random.default_rng(0)
    errors = [smooth_points(TIMES, rng.normal(0, 1, (21, 68, 2)), 10) for _ in range(20)]
    assert np.std(errors) < 0.36


@pytest.mark.parametrize(("hertz", "pixels"), [(1, 10), (2, 10), (3, 5)])
def test_a_nod_is_followed(hertz, pixels):
    points = np.repeat(wave(TIMES, hertz, pixels), 68, axis=1)
    errors = [np.abs(smooth_points(TIMES, points, i) - points[i]).max() for i in range(21)]
    assert max(errors) < 0.15 * pixels


def test_a_run_of_one_or_two_frames_is_left_alone():
    points = np.random.default_rng(0).normal(size=(2, 68, 2))
    assert np.array_equal(smooth_points(TIMES[:1], points[:1], 0), points[0])
    assert np.array_equal(smooth_points(TIMES[:2], points, 1), points[1])

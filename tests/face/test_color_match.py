import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.face.color_match import ColorFit, fit_color, mean_fit

CHANNEL = st.floats(-12, 12)


def skin(seed: int = 0, count: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    light = rng.normal(0, 20, (count, 1))
    return (np.array([180.0, 140, 120]) + light + rng.normal(0, 2, (count, 3))).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(gain=st.floats(0.85, 1.15), offset=st.tuples(CHANNEL, CHANNEL, CHANNEL))
def test_gain_and_offset_are_undone(gain, offset):
    original = skin()
    generated = (original * gain + np.array(offset)).astype(np.float32)
    if np.abs((generated - original).mean(axis=0)).max() < 30:
        corrected = fit_color(generated, original).apply(generated.T).T
        assert np.abs(corrected - original).max() < 0.5


def test_equal_pictures_are_left_alone():
    fit = fit_color(skin(), skin())
    assert abs(fit.gain - 1) < 1e-6
    assert np.abs(fit.offset).max() < 1e-3


def test_a_hand_over_a_quarter_of_the_ring_does_not_count():
    original = skin()
    generated = original * np.float32(0.95) + 5
    original[:500] = (30, 200, 60)
    kept = np.s_[500:]
    assert np.abs(fit_color(generated, original).apply(generated[kept].T).T - original[kept]).mean() < 2


def test_unrelated_pictures_are_not_corrected():
    rng = np.random.default_rng(1)
    fit = fit_color(
        rng.uniform(0, 255, (2000, 3)).astype(np.float32), rng.uniform(0, 120, (2000, 3)).astype(np.float32)
    )
    assert abs(fit.gain - 1) < 0.05
    assert np.abs(fit.apply(np.full((3, 1), 128.0)) - 128).max() < 2


def test_too_few_pixels_are_not_corrected():
    assert fit_color(skin(count=5), skin(count=5) + 9).gain == 1


def test_the_mean_of_corrections():
    fits = [ColorFit(gain, np.full(3, level, np.float32)) for gain, level in ((1.0, 8.0), (0.9, 0.0))]
    mean = mean_fit(fits, np.array([0.75, 0.25]))
    assert mean.gain == pytest.approx(0.975)
    assert mean.offset.dtype == np.float32 and np.allclose(mean.offset, 6)

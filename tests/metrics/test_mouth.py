"""Opening, correlation, landmark distance and rest of a mouth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import DataError
from latentsync.metrics.mouth import (
    fill_gaps,
    landmark_distance,
    mouth_opening,
    opening_correlation,
    opening_lag,
    opening_leak,
    silence_movement,
)
from tests.metrics.faces import landmarks, turned

POSES = st.tuples(st.floats(-0.6, 0.6), st.floats(0.3, 4), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))


def faces(gaps: np.ndarray) -> np.ndarray:
    return np.stack([landmarks(gap) for gap in gaps])


@given(st.floats(0, 40), POSES)
@settings(max_examples=30, deadline=None)
def test_opening_depends_on_the_gap_alone(gap: float, pose: tuple) -> None:
    opening = mouth_opening(turned(landmarks(gap), *pose)[None])
    assert opening == pytest.approx([gap / 80], abs=1e-9)


def test_a_face_without_width() -> None:
    flat = landmarks()
    flat[45] = flat[36]
    with pytest.raises(DataError, match="eyes in one place"):
        mouth_opening(flat[None])


@given(st.floats(0.1, 5), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_correlation_ignores_gain_and_offset(gain: float, offset: float) -> None:
    opening = np.random.default_rng(0).uniform(size=50)
    assert opening_correlation(gain * opening + offset, opening) == pytest.approx(1)
    assert opening_correlation(-gain * opening + offset, opening) == pytest.approx(-1)


def test_correlation_of_strangers_and_of_late_lips() -> None:
    opening = np.sin(np.arange(100) / 2)
    assert abs(opening_correlation(np.random.default_rng(0).normal(size=100), opening)) < 0.3
    assert opening_correlation(opening[6:], opening[:-6]) < -0.9  # half a period late


def test_no_correlation() -> None:
    with pytest.raises(DataError, match="keeps still"):
        opening_correlation(np.zeros(9), np.arange(9.0))
    with pytest.raises(ValueError, match="must both"):
        opening_correlation(np.zeros(9), np.zeros(8))


@given(POSES, st.floats(0, 30))
@settings(max_examples=30, deadline=None)
def test_landmark_distance_ignores_the_pose_of_the_head(pose: tuple, gap: float) -> None:
    truth, result = landmarks(10.0)[None], landmarks(gap)[None]
    distance = landmark_distance(result, truth)
    assert landmark_distance(truth, turned(truth[0], *pose)[None]) == pytest.approx(0, abs=1e-6)
    assert landmark_distance(turned(result[0], *pose)[None], truth) == pytest.approx(distance, abs=1e-6)
    assert landmark_distance(truth, result) == pytest.approx(distance)


def test_a_mouth_in_the_wrong_place_counts() -> None:
    truth = landmarks()[None]
    lower = truth.copy()
    lower[:, 48:, 1] += 6
    scale = landmark_distance(lower, truth) / 6  # crop pixels per pixel of this image
    further = truth.copy()
    further[:, 48:, 0] += 12
    assert scale > 0.5
    assert landmark_distance(further, truth) == pytest.approx(12 * scale)
    assert landmark_distance(np.concatenate([lower, truth]), np.concatenate([truth, truth])) == pytest.approx(3 * scale)


def test_landmarks_that_do_not_compare() -> None:
    with pytest.raises(ValueError, match="must both be"):
        landmark_distance(np.zeros((2, 68, 2)), np.zeros((3, 68, 2)))


def test_movement_in_silence() -> None:
    speaking = np.arange(200) % 100 >= 40
    wave = np.sin(np.arange(200) * 1.3)
    assert silence_movement(np.where(speaking, wave, 0.0), speaking) == 0
    assert silence_movement(np.where(speaking, wave, 0.5 * wave), speaking) == pytest.approx(0.25, rel=0.1)
    assert silence_movement(wave, speaking) == pytest.approx(1, rel=0.1)


def test_another_resting_mouth_is_no_movement() -> None:
    speaking = np.arange(200) % 100 >= 40
    rest = np.where(np.arange(200) < 100, 0.0, 0.4)
    assert silence_movement(np.where(speaking, np.sin(np.arange(200)), rest), speaking) == pytest.approx(0)


def test_pauses_inside_words_are_no_silence() -> None:
    speaking = np.ones(100, bool)
    speaking[50:54] = False
    with pytest.raises(DataError, match="no silence"):
        silence_movement(np.random.default_rng(0).normal(size=100), speaking)


def test_clips_without_speech() -> None:
    with pytest.raises(DataError, match="no speech"):
        silence_movement(np.zeros(50), np.zeros(50, bool))
    with pytest.raises(DataError, match="no speech with a moving mouth"):
        silence_movement(np.zeros(50), np.arange(50) > 25)
    with pytest.raises(ValueError, match="must both"):
        silence_movement(np.zeros(50), np.zeros(40, bool))


def test_opening_of_a_clip() -> None:
    np.testing.assert_allclose(mouth_opening(faces(np.array([0.0, 8.0, 16.0]))), [0, 0.1, 0.2])


def walks(count: int, length: int = 4000) -> np.ndarray:
    """Openings of ``count`` mouths that have nothing to do with one another."""
    steps = np.random.default_rng(7).normal(size=(count, length))
    return np.array([np.convolve(row, np.hanning(5), mode="same") for row in steps])


def test_a_leak_is_what_the_audio_does_not_explain() -> None:
    audio, source, noise = walks(3)
    assert abs(opening_leak(audio + 0.3 * noise, source, audio)) < 0.05
    assert opening_leak(source, source, audio) == pytest.approx(1, abs=0.01)
    assert opening_leak(0.8 * audio + 0.6 * source, source, audio) == pytest.approx(0.6, abs=0.04)
    alike = 0.7 * audio + 0.7 * source  # another sentence that resembles the new one
    assert opening_correlation(audio, alike) > 0.6
    assert abs(opening_leak(audio, alike, audio)) < 1e-6
    assert opening_leak(-audio, source, audio) == pytest.approx(-opening_leak(audio, source, audio), abs=1e-9)


def test_a_leak_from_the_same_words_cannot_be_told() -> None:
    audio, _ = walks(2)
    with pytest.raises(DataError, match="what the sound says"):
        opening_leak(audio, audio, audio)


@pytest.mark.parametrize("lag", [-10, -1, 0, 3])
def test_a_lag_is_found(lag: int) -> None:
    (audio,) = walks(1, 200)
    assert opening_lag(np.roll(audio, lag), audio) == lag


def test_too_short_for_a_lag() -> None:
    with pytest.raises(ValueError, match="cannot be shifted"):
        opening_lag(np.arange(20.0), np.arange(20.0))


def test_gaps_are_filled_from_both_sides():
    assert fill_gaps([np.nan, 1, np.nan, 3, np.nan]).tolist() == [1, 1, 2, 3, 3]
    assert np.isnan(fill_gaps([np.nan, np.nan])).all()

"""Which faces are beyond a limit, and how certain a face is that is not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.errors import ConfigError
from latentsync.face.box import box_around
from latentsync.face.visibility import CUT, NODDED, SMALL, TURNED, VisibilitySettings, assess, cut_share
from latentsync.types import FaceObservation

SETTINGS = VisibilitySettings()
SIZE = (256, 256)


def observation(points, score=0.95):
    points = np.asarray(points, np.float32)
    return FaceObservation(0, 0, box_around(points), points, score)


@pytest.fixture(scope="module")
def talker():
    return make_talker(3, 4, 5, seconds=4, options=TalkerOptions(profiles=((1.6, 2.4),)))


def test_a_profile_is_beyond_the_limit_and_a_frontal_face_is_not(talker):
    reasons = [assess(observation(points), SIZE, SETTINGS).reason for points in talker.landmarks]
    yaw = np.abs(np.degrees(talker.people[0].yaw))
    assert {reason for reason, angle in zip(reasons, yaw, strict=True) if angle > 70} == {TURNED}
    assert {reason for reason, angle in zip(reasons, yaw, strict=True) if angle < 40} == {""}


def test_confidence_falls_towards_the_limit(talker):
    turning = [assess(observation(points), SIZE, SETTINGS).confidence for points in talker.landmarks[28:41]]
    assert turning[0] > 0.9 and turning[-1] == 0
    assert turning == sorted(turning, reverse=True)


def test_an_uncertain_detection_is_an_uncertain_face(talker):
    assert assess(observation(talker.landmarks[0], score=0.6), SIZE, SETTINGS).confidence == pytest.approx(0.6)


def test_small_faces(talker):
    points = talker.landmarks[0] - talker.landmarks[0].mean(axis=0)
    height = np.ptp(points, axis=0).max()
    for pixels, reason in ((39, SMALL), (41, "")):
        assert assess(observation(points * (pixels / height) + 128), SIZE, SETTINGS).reason == reason


def test_a_face_at_the_edge_of_the_frame(talker):
    points = talker.landmarks[0]
    assert cut_share(points, SIZE) == 0
    bottom, top = points[:, 1].max(), points[[*range(3, 14), *range(48, 60)], 1].min()
    lower = points + (0, 255 - bottom + 0.5 * (bottom - top))
    assert cut_share(lower, SIZE) == pytest.approx(0.5, abs=0.01)
    assert assess(observation(lower), SIZE, SETTINGS).reason == CUT
    assert assess(observation(lower), SIZE, replace(SETTINGS, max_cut=0.6)).reason == ""
    assert cut_share(points - (1000, 0), SIZE) == 1


def test_pixels_that_are_not_square(talker):
    narrow = talker.landmarks[0] * np.array([0.5, 1])
    square = assess(observation(talker.landmarks[0]), SIZE, SETTINGS)
    assert assess(observation(narrow), (128, 256), SETTINGS, Fraction(2)).confidence == pytest.approx(square.confidence)


def test_zero_takes_a_limit_away(talker):
    profile = observation(talker.landmarks[50])
    assert assess(profile, SIZE, SETTINGS).reason == TURNED
    assert assess(profile, SIZE, replace(SETTINGS, max_yaw=0)).reason == ""
    assert assess(profile, SIZE, replace(SETTINGS, max_yaw=0, max_pitch=0.1)).reason == NODDED
    assert not VisibilitySettings.nothing().has_limits


@pytest.mark.parametrize("field", ["max_yaw", "max_pitch", "min_face", "max_cut", "fade"])
def test_settings_that_make_no_sense(field):
    with pytest.raises(ConfigError, match=field):
        VisibilitySettings(**{field: -1})

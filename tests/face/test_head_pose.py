"""The angles of a head: against talkers whose turning is known, whatever roll, size and place."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.data.talkers.clip import make_talker
from latentsync.face.head_pose import head_pose


@pytest.fixture(scope="module")
def talker():
    return make_talker(3, 4, 5, seconds=4)


def test_yaw_is_that_of_the_talker(talker):
    found = np.array([head_pose(points).yaw for points in talker.landmarks])
    truth = np.degrees(talker.people[0].yaw)
    assert np.ptp(truth) > 8
    assert np.abs(found - truth).max() < 2


def test_pitch_follows_that_of_the_talker(talker):
    found = np.array([head_pose(points).pitch for points in talker.landmarks])
    truth = np.degrees(talker.shots[0].actors[0].pose.pitch)
    assert np.corrcoef(found, truth)[0, 1] > 0.8


def test_roll_size_and_place_do_not_matter(talker):
    points = talker.landmarks[10].astype(np.float64)
    angle = np.radians(35)
    turned = 3.7 * points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + (900, -40)
    before, after = head_pose(points), head_pose(turned)
    assert after.yaw == pytest.approx(before.yaw, abs=1e-6)
    assert after.pitch == pytest.approx(before.pitch, abs=1e-6)


def test_a_mirrored_face_is_turned_the_other_way(talker):
    points = talker.landmarks[10].astype(np.float64)
    order = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *(45, 44, 43, 42, 47, 46)]
    order += [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
    mirrored = points[order] * (-1, 1)
    assert head_pose(mirrored).yaw == pytest.approx(-head_pose(points).yaw, abs=1e-6)
    assert head_pose(mirrored).pitch == pytest.approx(head_pose(points).pitch, abs=1e-6)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((68, 2), np.nan)])
def test_other_points_are_refused(points):
    with pytest.raises(ValueError, match="68 finite landmarks"):
        head_pose(points)

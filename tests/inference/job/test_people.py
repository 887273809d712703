"""Whom a user can choose from."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.errors import VideoError, WeightsMissingError
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection
from latentsync.face.selection import FaceSelector
from latentsync.face.tracks import FaceTracks
from latentsync.inference.job.people import find_everybody, find_people
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import MediaLimits
from latentsync.media.video import VideoFile
from tests.inference.world import face_landmarks
from tests.media.synthetic import write_clip

N = 60
PLACES = {"left": (80, 100), "right": (240, 110)}


def faces(number):
    """Two people who sway; the right one comes after a second."""
    shift = np.array([4 * np.sin(number / 5), 0])
    return {
        name: face_landmarks(np.array(place) + shift, 60)
        for name, place in PLACES.items()
        if name == "left" or number >= 25
    }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")

    def image(number):
        pixels = np.full((200, 320, 3), 90, np.uint8)
        for name, points in faces(number).items():
            x, y = points.mean(axis=0).astype(int)
            pixels[y - 30 : y + 30, x - 30 : x + 30] = (220, 60, 60) if name == "left" else (60, 60, 220)
        return pixels

    write_clip(folder / "two.mp4", (image(number) for number in range(N)), gop=5)
    found = {
        number: [Detection(np.concatenate([p.min(0), p.max(0)]), p, 0.9) for p in faces(number).values()]
        for number in range(N)
    }
    write_detections(folder / "faces.npz", found)
    return folder


def test_each_person_once_with_a_picture_and_a_name_that_the_selection_understands(clip, tmp_path):
    weights = WeightPaths.in_directory(tmp_path)
    people = find_people(clip / "two.mp4", weights, str(clip / "faces.npz"))
    assert len(people) == 2
    left, right = people
    assert left.share == 1 and right.share < 1 and left.time == 0 and right.time >= 1
    assert left.thumbnail.shape == (160, 160, 3)
    assert left.thumbnail[80, 80, 0] > 180 > left.thumbnail[80, 80, 2]
    assert right.thumbnail[80, 80, 2] > 180 > right.thumbnail[80, 80, 0]
    tracks = FaceTracks.from_file(clip / "faces.npz", FaceSelector(right.choice))
    followed = {t.frame.index: t.face for t in tracks.follow(VideoFile(clip / "two.mp4").frames())}
    assert all(followed[number].box[0] > 160 for number in range(round(right.time * 25), N))


def test_a_close_up_where_somebody_else_was_is_of_whom_it_shows(tmp_path):
    """Two people, then after a cut one of them alone, larger, at the other one's place."""
    colors = {"left": (220, 60, 60), "right": (60, 60, 220)}

    def shown(number):
        places = {"left": (80, 100), "right": (240, 110)} if number < 10 else {"left": (240, 100)}
        return {name: face_landmarks(np.array(place), 60 if number < 10 else 80) for name, place in places.items()}

    def image(number):
        pixels = np.full((200, 320, 3), 90, np.uint8)
        for name, points in shown(number).items():
            (x0, y0), (x1, y1) = points.min(0).astype(int) - 10, points.max(0).astype(int) + 10
            pixels[y0:y1, x0:x1] = colors[name]
        return pixels

    video = write_clip(tmp_path / "cut.mp4", (image(number) for number in range(20)), gop=5)
    found = {
        number: [Detection(np.concatenate([p.min(0), p.max(0)]), p, 0.9) for p in shown(number).values()]
        for number in range(20)
    }
    write_detections(tmp_path / "faces.npz", found)
    left, right = find_people(video, WeightPaths.in_directory(tmp_path), str(tmp_path / "faces.npz"))
    assert left.share == 1 and 0 < right.share < 1
    assert left.thumbnail[80, 80, 0] > 180 and right.thumbnail[80, 80, 2] > 180


def test_everybody_with_the_time_in_which_they_are_seen(clip, tmp_path):
    cast = find_everybody(clip / "two.mp4", WeightPaths.in_directory(tmp_path), str(clip / "faces.npz"))
    left, right = cast.members
    assert cast.frames == left.frames == N and left.stretches == [(0, Fraction(N, 25))]
    assert right.stretches == [(1, Fraction(N, 25))] and right.frames == N - 25
    assert 55 < left.smallest <= left.largest < 90 and len(left.views) == 3
    video = VideoFile(clip / "two.mp4")
    tracks = FaceTracks.from_file(clip / "faces.npz", FaceSelector(right.choice))
    tracks.prepare(video)
    followed = [target.face for target in tracks.follow(video.frames())]
    assert [face is not None and face.box[0] > 160 for face in followed] == [k >= 25 for k in range(N)]


def test_what_cannot_be_looked_at_is_named(clip, tmp_path):
    weights = WeightPaths.in_directory(tmp_path)
    with pytest.raises(WeightsMissingError, match="No face detector"):
        find_people(clip / "two.mp4", weights)
    with pytest.raises(VideoError, match="more than 1 s"):
        find_people(clip / "two.mp4", weights, str(clip / "faces.npz"), limits=MediaLimits(seconds=1))

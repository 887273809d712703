from __future__ import annotations

import numpy as np

from latentsync.face.selection import FaceSelector
from latentsync.preprocess.steps.step5_high_resolution import (
    FaceCount,
    detect_faces,
    detection_frames,
    track_one_shot,
)
from tests.face.drawn import TruthfulDetector, blank_frames, detection, placed


def looked(faces, n_frames=40, stride=3, min_side=100):
    detector, count = TruthfulDetector(faces), FaceCount(min_side)
    wanted = detection_frames(n_frames, stride)
    frames = (frame for frame in blank_frames(n_frames) if frame.index in wanted)
    found = detect_faces(frames, n_frames, detector, count)
    return detector, count, found


def one(number: int, width: float = 200.0):
    return [detection(placed((300 + number, 300), width))]


def test_every_third_frame_and_the_last_are_looked_at():
    detector, count, found = looked(one)
    assert detector.asked == [*range(0, 40, 3)]
    assert looked(one, n_frames=41)[0].asked == [*range(0, 40, 3), 40]
    assert sorted(found) == list(range(40))
    assert count.reason == ""
    assert 100 <= count.side <= 200


def test_what_lies_between_is_filled_in():
    detector, _, found = looked(one)
    tracked = list(track_one_shot(blank_frames(40), found, detector, 3))
    assert len(detector.asked) == 14, "following looks again"
    for item in tracked:
        (face,) = item.faces
        expected = placed((300 + item.frame.index, 300), 200.0)
        assert np.abs(face.landmarks - expected).max() < 0.01


def test_looking_ends_when_it_is_settled():
    detector, count, _ = looked(lambda number: [])
    assert (count.reason, len(detector.asked)) == ("no face: in frame 0", 8)
    detector, count, _ = looked(lambda number: one(number) * 2)
    assert count.reason.startswith("several faces: 2")
    assert len(detector.asked) == 8
    detector, count, _ = looked(lambda number: one(number, 60.0))
    assert count.reason.startswith("small face: ")
    assert len(detector.asked) == 8


def test_single_slips_of_the_detector_are_forgiven():
    assert looked(lambda number: [] if number == 9 else one(number))[1].reason == ""
    assert looked(lambda number: one(number) * (2 if number == 9 else 1))[1].reason == ""
    assert looked(lambda number: [] if number in (9, 12) else one(number))[1].reason == "no face: in frame 12"
    assert looked(lambda number: [] if number == 39 else one(number))[1].reason == "no face: at the end"


def test_a_forgiven_miss_is_filled_in():
    detector, _, found = looked(lambda number: [] if number == 9 else one(number))
    assert all(len(item.faces) == 1 for item in track_one_shot(blank_frames(40), found, detector, 3))


def test_a_face_that_jumps_within_a_shot_is_lost():
    detector, count, found = looked(lambda number: one(number + 400 * (number >= 20)))
    assert count.reason == ""
    targets = list(FaceSelector().select(track_one_shot(blank_frames(40), found, detector, 3)))
    assert any(target.face is None for target in targets)
    assert {target.shot for target in targets} == {0}

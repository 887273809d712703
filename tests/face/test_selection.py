from fractions import Fraction

import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.face import selection
from latentsync.face.selection import FaceChoice, FaceSelector
from latentsync.face.tracking import TrackedFrame
from latentsync.types import FaceObservation
from tests.face.drawn import blank_frames, placed


def observation(index: int, track: int, centre: tuple[float, float], width: float, score: float = 0.9):
    landmarks = placed(centre, width).astype(np.float32)
    return FaceObservation(index, track, np.concatenate([landmarks.min(0), landmarks.max(0)]), landmarks, score)


def tracked(faces, count: int, shots=lambda i: 0) -> list[TrackedFrame]:
    """``faces(i)`` gives (track, centre, width) triples."""
    return [
        TrackedFrame(frame, tuple(observation(frame.index, *face) for face in faces(frame.index)), shots(frame.index))
        for frame in blank_frames(count)
    ]


def chosen(choice: str, items: list[TrackedFrame]) -> list[int | None]:
    targets = list(FaceSelector(choice).select(items))
    assert [target.frame.index for target in targets] == [item.frame.index for item in items]
    assert all((target.face is None) == bool(target.reason) for target in targets)
    return [None if target.face is None else target.face.track_id for target in targets]


TWO = ((0, (100, 200), 120), (1, (500, 200), 160))


def test_largest_stays_with_its_track_when_another_grows():
    assert chosen("largest", tracked(lambda i: ((0, (100, 200), 120 + 4 * i), TWO[1]), 40)) == [1] * 40


def test_largest_looks_over_several_frames_and_past_a_false_alarm():
    assert chosen("largest", tracked(lambda i: (*TWO, (7, (300, 300), 400)) if i == 0 else TWO, 20)) == [1] * 20


def test_a_new_shot_is_a_new_choice():
    def faces(i: int):
        return TWO if i < 10 else ((5, (100, 200), 120), (6, (500, 200), 80))

    assert chosen("largest", tracked(faces, 20, shots=lambda i: int(i >= 10))) == [1] * 10 + [5] * 10


def test_a_lost_face_is_waited_for_before_another_is_taken():
    patience = selection.PATIENCE
    items = tracked(lambda i: TWO if i < 15 else TWO[:1], 15 + patience + 10)
    assert chosen("largest", items) == [1] * 15 + [None] * patience + [0] * 10
    reasons = [target.reason for target in FaceSelector().select(items)]
    assert set(reasons[15 : 15 + patience]) == {selection.OTHER_FACE}


@pytest.mark.parametrize(("choice", "track"), [("index:0", 0), ("index:1", 1), ("index:2", None)])
def test_by_place_from_the_left(choice, track):
    assert chosen(choice, tracked(lambda i: TWO, 12)) == [track] * 12


def test_by_point_and_time():
    def faces(i: int):  # the two walk past each other
        return (0, (100 + 10 * i, 200), 120), (1, (500 - 10 * i, 260), 120)

    items = tracked(faces, 50)
    assert chosen("90,200", items) == [0] * 50
    assert chosen("90,200@1.2", items) == [0] * 30 + [1] * 20


def test_reasons():
    def faces(i: int):
        return ((), ((0, (100, 200), 20),), ((1, (100, 200), 150, 0.2),))[i]

    targets = list(FaceSelector().select(tracked(faces, 3, shots=lambda i: i)))
    assert [target.reason for target in targets] == [selection.NO_FACE, selection.TOO_SMALL, selection.LOW_SCORE]
    assert [target.face for target in targets] == [None] * 3


def test_looks_a_bounded_number_of_frames_ahead():
    taken = []

    def counted():
        for item in tracked(lambda i: TWO, 60):
            taken.append(item.frame.index)
            yield item

    for target in FaceSelector().select(counted()):
        assert len(taken) - target.frame.index <= selection.LOOK_AHEAD + 1


def test_syntax():
    assert FaceChoice.parse("largest") == FaceChoice()
    assert FaceChoice.parse("index:3") == FaceChoice(index=3)
    assert FaceChoice.parse("640, 360.5@2.04") == FaceChoice(point=(640, 360.5), time=Fraction("2.04"))
    for text in ("", "biggest", "index:-1", "index:x", "10", "10,20@", "-5,3"):
        with pytest.raises(ConfigError, match="largest"):
            FaceChoice.parse(text)

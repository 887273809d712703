import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.face.align import FaceAligner
from latentsync.face.similarity import invert, transform
from latentsync.face.tracking import TrackedFrame, TrackingSettings, smooth_points, track_faces
from tests.face.drawn import TruthfulDetector, blank_frames, detection, placed


def follow(faces, count: int, cuts: tuple[int, ...] = (), **settings) -> list[TrackedFrame]:
    tracked = list(track_faces(blank_frames(count, cuts=cuts), TruthfulDetector(faces), TrackingSettings(**settings)))
    assert [item.frame.index for item in tracked] == list(range(count))
    assert all(face.frame_index == item.frame.index for item in tracked for face in item.faces)
    return tracked


def mouth_errors(tracked: list[TrackedFrame], truth) -> np.ndarray:
    """(n, 2) px: where the pasted mouth centre would lie, less where it is."""
    aligner, errors = FaceAligner(256), []
    for item in tracked:
        landmarks = truth(item.frame.index)
        mouth = landmarks[48:68].mean(axis=0)
        on_canvas = transform(aligner.matrix(landmarks), mouth)
        pasted = transform(invert(aligner.matrix(item.faces[0].landmarks)), on_canvas)
        errors.append(pasted - mouth)
    return np.array(errors)


def test_landmark_noise_on_a_still_head():
    rng = np.random.default_rng(0)
    still = placed((300, 300), 190)
    noisy = follow(lambda _: [detection(still + rng.uniform(-0.5, 0.5, (68, 2)))], 150)
    figure = np.sqrt((mouth_errors(noisy, lambda _: still) ** 2).sum(axis=1).mean())
    print(f"paste position {figure:.3f} px RMS")
    assert figure <= 0.1


def test_steady_motion_has_no_lag():
    def truth(i: int) -> np.ndarray:
        return placed((300 + 4 * i, 300 - 1.5 * i), 190)

    figure = np.abs(mouth_errors(follow(lambda i: [detection(truth(i))], 60), truth)).max()
    print(f"lag {figure:.5f} px")
    assert figure <= 0.1


@pytest.mark.parametrize("cut", [1, 17, 40])
def test_nothing_leaks_over_a_cut(cut):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (60, 68, 2))

    def faces(i: int):
        return [detection((placed((200, 200), 150) if i < cut else placed((230, 210), 170)) + noise[i])]

    whole = follow(faces, 60, cuts=(cut,))
    assert [item.shot for item in whole] == [0] * cut + [1] * (60 - cut)
    before = follow(faces, cut)
    after = list(
        track_faces((f for f in blank_frames(60) if f.index >= cut), TruthfulDetector(faces), TrackingSettings())
    )
    for alone, together in zip([*before, *after], whole, strict=True):
        assert np.array_equal(alone.faces[0].landmarks, together.faces[0].landmarks)
    assert whole[cut].faces[0].track_id != whole[cut - 1].faces[0].track_id


def test_no_cut_is_looked_for_where_there_is_none_to_find():
    def faces(i: int):
        return [detection(placed((200, 200), 150))]

    assert {item.shot for item in follow(faces, 60, cuts=(30,), one_shot=True)} == {0}
    assert {item.shot for item in follow(faces, 60, cuts=(30,))} == {0, 1}


@pytest.mark.parametrize("hidden", [0, 6])
def test_two_faces_that_cross_keep_their_numbers(hidden):
    """They pass through each other, one growing and one shrinking; for ``hidden`` frames only the front one is seen."""

    def left(i: int) -> np.ndarray:
        return placed((150 + 6 * i, 300), 120 + 0.8 * i)

    def right(i: int) -> np.ndarray:
        return placed((650 - 6 * i, 305), 180 - 0.8 * i)

    def faces(i: int):
        both = [detection(left(i)), detection(right(i), 0.95)]
        if abs(2 * i - 83) < hidden:
            both = both[1:]
        return both if i % 3 else both[::-1]  # the detector's order means nothing

    tracked = follow(faces, 84)
    numbers = {face.track_id for face in tracked[0].faces}
    assert len(numbers) == 2
    first = min(tracked[0].faces, key=lambda face: face.box[0]).track_id
    for item in tracked:
        assert {face.track_id for face in item.faces} <= numbers
        for face in item.faces:
            truth = left if face.track_id == first else right
            assert np.abs(face.landmarks - truth(item.frame.index)).max() < 2


@pytest.mark.parametrize(("missing", "filled"), [(1, True), (5, True), (6, False), (20, False)])
def test_short_gaps_are_filled_and_long_ones_are_not(missing, filled):
    def truth(i: int) -> np.ndarray:
        return placed((200 + 2 * i, 200), 150)

    tracked = follow(lambda i: [] if 30 <= i < 30 + missing else [detection(truth(i))], 80)
    gap = tracked[30 : 30 + missing]
    assert [bool(item.faces) for item in gap] == [filled] * missing
    for item in gap if filled else []:
        assert np.abs(item.faces[0].landmarks - truth(item.frame.index)).max() < 0.01
    assert len({face.track_id for item in tracked for face in item.faces}) == 1


def test_a_gap_at_a_cut_is_not_filled():
    tracked = follow(lambda i: [] if 28 <= i < 32 else [detection(placed((200, 200), 150))], 60, cuts=(30,))
    assert [bool(item.faces) for item in tracked[28:32]] == [False] * 4


def test_a_jump_inside_a_shot_begins_another_track():
    tracked = follow(lambda i: [detection(placed((200 if i < 20 else 500, 200), 150))], 40)
    assert tracked[19].faces[0].track_id != tracked[20].faces[0].track_id
    assert np.abs(tracked[20].faces[0].landmarks - placed((500, 200), 150)).max() < 0.01


def test_without_smoothing_detections_come_out_as_they_are():
    rng = np.random.default_rng(0)
    raw = placed((300, 300), 190) + rng.normal(0, 1, (30, 68, 2))
    for i, item in enumerate(follow(lambda i: [detection(raw[i])], 30, smoothing=0)):
        assert np.array_equal(item.faces[0].landmarks, raw[i].astype(np.float32))


def test_look_ahead_is_bounded_and_detection_comes_in_batches():
    taken = []

    def counted():
        for frame in blank_frames(400):
            taken.append(frame.index)
            yield frame

    detector = TruthfulDetector(lambda i: [detection(placed((200, 200), 150))])
    settings = TrackingSettings(batch=8, max_gap=5, smoothing=10)
    for item in track_faces(counted(), detector, settings):
        assert len(taken) - item.frame.index <= settings.smoothing + settings.max_gap + settings.batch + 3
    assert detector.asked == list(range(400))


def test_known_detections_are_used_and_new_ones_added():
    face = [detection(placed((200, 200), 150))]
    detector, known = TruthfulDetector(lambda i: face), dict.fromkeys(range(10), face)
    list(track_faces(blank_frames(15), detector, known=known))
    assert detector.asked == list(range(10, 15))
    assert sorted(known) == list(range(15))


# -- smoothing of one track -------------------------------------------------------------------------------------------

TIMES = np.arange(21) / 25


def wave(times: np.ndarray, hertz: float, pixels: float) -> np.ndarray:
    return np.stack([pixels * np.sin(2 * np.pi * hertz * times), np.zeros_like(times)], axis=-1)[:, None]


@settings(max_examples=50, deadline=None)
@given(
    position=st.integers(0, 20),
    velocity=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    uneven=st.integers(0, 1000),
)
def test_steady_motion_is_not_changed_at_any_place_and_for_uneven_times(position, velocity, uneven):
    times = TIMES + np.random.default_rng(uneven).uniform(-0.015, 0.015, 21)
    points = 100 + times[:, None, None] * np.array(velocity)[None, None]
    assert np.abs(smooth_points(times, points, position) - points[position]).max() < 1e-6


def test_the_noise_of_a_still_head_shrinks_to_a_third():
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

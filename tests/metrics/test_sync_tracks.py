"""Tracks of the sync score: linking, filling gaps, smoothing, cropping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.metrics.sync_tracks import BoxTrack, audio_of, crop_face, crop_path, link_tracks

NOBODY = np.zeros((0, 5), np.float32)


def face(x: float, y: float = 50.0, side: float = 120.0) -> np.ndarray:
    return np.array([x, y, x + side, y + side, 0.99], np.float32)


def moving(n: int) -> list[np.ndarray]:
    return [face(2.0 * i)[None] for i in range(n)]


def test_a_gap_is_filled_on_a_straight_line() -> None:
    detections = moving(80)
    for index in range(30, 40):
        detections[index] = NOBODY
    (track,) = link_tracks(detections, first_frame=1000)
    assert track.first_frame == 1000
    np.testing.assert_allclose(track.boxes, [each[0, :4] for each in moving(80)])


@pytest.mark.parametrize("gap, tracks", [(24, 1), (25, 2)])
def test_a_face_away_for_long_is_another(gap: int, tracks: int) -> None:
    """25 frames from one detection to the next still are one track; the gap between them is one less."""
    detections = [face(0)[None]] * 60 + [NOBODY] * gap + [face(0)[None]] * 60
    assert len(link_tracks(detections)) == tracks


@pytest.mark.parametrize("n, tracks", [(49, 0), (50, 0), (51, 1)])
def test_a_track_has_more_than_50_detections(n: int, tracks: int) -> None:
    assert len(link_tracks([face(0)[None]] * n)) == tracks
    assert len(link_tracks([face(0)[None]] * n + [NOBODY] * 9)) == tracks


@pytest.mark.parametrize("side, tracks", [(100.0, 0), (101.0, 1)])
def test_a_small_face_is_no_track(side: float, tracks: int) -> None:
    assert len(link_tracks([face(0, side=side)[None]] * 60)) == tracks


def test_two_people_stay_apart() -> None:
    left = [face(i) for i in range(60)]
    right = [face(400 - i) for i in range(60)]
    pairs = zip(left, right, strict=True)
    detections = [np.stack([a, b] if i % 3 else [b, a]) for i, (a, b) in enumerate(pairs)]
    tracks = link_tracks(detections)
    found = sorted((track.boxes for track in tracks), key=lambda boxes: boxes[0, 0])
    np.testing.assert_allclose(found[0], [box[:4] for box in left])
    np.testing.assert_allclose(found[1], [box[:4] for box in right])


def test_a_jump_is_another_face() -> None:
    assert len(link_tracks([face(0)[None]] * 60 + [face(80)[None]] * 60)) == 2  # overlap 1/5


def test_the_path_ignores_short_outliers() -> None:
    boxes = np.tile(face(100)[:4].astype(np.float64), (80, 1))
    boxes[40:45] += 30
    path = crop_path(BoxTrack(0, boxes))
    np.testing.assert_allclose(path[10:70], np.tile([160, 110, 60], (60, 1)))


def test_the_path_follows_the_longer_side() -> None:
    boxes = np.tile([0.0, 0.0, 100.0, 140.0], (60, 1))
    np.testing.assert_allclose(crop_path(BoxTrack(0, boxes))[30], [50, 70, 70])


def coordinates(height: int, width: int) -> np.ndarray:
    """A image that says where each pixel is: red = column, green = row, blue = 200."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns, rows, np.full_like(rows, 200)]).astype(np.uint8)


def test_the_square_reaches_below_the_chin() -> None:
    crop = crop_face(coordinates(250, 250), x=120.0, y=100.0, half=40.0)  # 2.8 * 40 = 112 px, enlarged twice
    assert crop.shape == (224, 224, 3)
    assert crop[:, 0, 0] == pytest.approx(120 - 56, abs=1)
    assert crop[:, -1, 0] == pytest.approx(120 + 55, abs=1)
    assert crop[0, :, 1] == pytest.approx(100 - 40, abs=1)
    assert crop[-1, :, 1] == pytest.approx(100 + 71, abs=1)


def test_outside_the_frame_is_grey() -> None:
    crop = crop_face(coordinates(200, 200), x=10.0, y=20.0, half=40.0)
    assert (crop[100, 0] == 110).all()
    assert (crop[0, 150] == 110).all()
    assert crop[150, 150, 2] == 200


@given(st.floats(-80, 280), st.floats(-80, 280), st.floats(5, 90), st.integers(20, 200), st.integers(20, 200))
@settings(max_examples=60, deadline=None)
def test_a_crop_is_the_published_crop(x: float, y: float, half: float, height: int, width: int) -> None:
    """The definition: pad the whole frame, then cut. Only where that stays inside the padded frame."""
    import cv2

    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pad = int(half * 1.8)
    padded = cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(110, 110, 110))
    cx, cy = x + pad, y + pad
    edges = [int(cy - half), int(cy + half * 1.8), int(cx - half * 1.4), int(cx + half * 1.4)]
    crop = crop_face(frame, x, y, half)
    assert crop.shape == (224, 224, 3)
    if min(edges) >= 0 and edges[1] <= padded.shape[0] and edges[3] <= padded.shape[1]:
        expected = cv2.resize(padded[edges[0] : edges[1], edges[2] : edges[3]], (224, 224))
        np.testing.assert_array_equal(crop, expected)


def test_a_face_without_area() -> None:
    with pytest.raises(ValueError, match="no area"):
        crop_face(np.zeros((50, 50, 3), np.uint8), 20.0, 20.0, 0.0)


def test_the_audio_of_a_track() -> None:
    audio = audio_of(BoxTrack(3, np.zeros((60, 4))), np.arange(100_000))
    assert (audio[0], audio[-1]) == (3 * 640, 63 * 640 - 1)

import numpy as np
import pytest

from latentsync.face.align import FaceAligner, align_face, anchor_points, estimate_similarity, image_key
from latentsync.face.similarity import compose, crop_to_canvas, transform
from latentsync.types import ArrayFrame
from tests.face.drawn import placed, smooth_image


@pytest.mark.parametrize("resolution", [256, 512])
def test_anchors_land_where_the_template_has_them(resolution):
    landmarks = placed((300.25, 280.75), 150, degrees=20)
    face = FaceAligner(resolution).align(ArrayFrame.of(smooth_image(600, 640, 12)), landmarks)
    assert face.pixels.shape == (3, resolution, resolution)
    assert face.pixels.dtype == np.float32
    assert face.matrix.dtype == np.float64
    assert -1 <= face.pixels.min() < face.pixels.max() <= 1
    brows_and_nose = (transform(face.matrix, anchor_points(landmarks)) + 0.5) / resolution
    # The triple's own shape differs from the template's, its centre and its spread do not.
    assert np.abs(brows_and_nose.mean(axis=0) - [0.5, (0.2 + 0.2 + 0.4) / 3]).max() < 0.01
    assert np.abs(brows_and_nose - [[0.227, 0.2], [0.773, 0.2], [0.5, 0.4]]).max() < 0.08


def test_points_and_matrix_give_the_same_face():
    frame, points = smooth_image(400, 400, 12), anchor_points(placed((200, 200), 120))
    matrix = compose(crop_to_canvas(256), estimate_similarity(points, 256))
    by_points, by_matrix = align_face(frame, points, 256), align_face(frame, matrix, 256)
    assert np.array_equal(by_points.pixels, by_matrix.pixels)
    assert np.array_equal(by_points.matrix, by_matrix.matrix)


def test_sub_pixel_moves_of_the_landmarks_move_the_face():
    aligner = FaceAligner(256)
    here, there = aligner.matrix(placed((200, 200), 120)), aligner.matrix(placed((200.1, 200), 120))
    scale = here[0, 0]
    assert np.abs((here - there)[:, 2] - [0.1 * scale, 0]).max() < 1e-4


def test_our_geometry_remembers_nothing():
    aligner = FaceAligner(256)
    first = aligner.matrix(placed((200, 200), 120))
    aligner.matrix(placed((300, 210), 90, 30))
    assert np.array_equal(aligner.matrix(placed((200, 200), 120)), first)


def test_a_face_half_outside_the_frame_is_grey_there():
    face = FaceAligner(256).align(ArrayFrame.of(np.full((300, 300, 3), 250, dtype=np.uint8)), placed((0, 150), 120))
    assert np.allclose(face.pixels[:, :, :40], 127 / 127.5 - 1, atol=1e-3)
    assert np.allclose(face.pixels[:, 100, 200:], 250 / 127.5 - 1, atol=1e-3)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="matrix"):
        align_face(np.zeros((10, 10, 3), np.uint8), np.zeros((4, 4)), 256)


def test_keys_are_made_where_they_are_asked_for():
    frame, landmarks = ArrayFrame.of(smooth_image(300, 300, 12)), placed((150, 150), 120)
    keyed, plain = (FaceAligner(256, keyed=asked).align(frame, landmarks) for asked in (True, False))
    assert np.array_equal(keyed.pixels, plain.pixels)
    assert (keyed.key, plain.key) == (image_key(plain.pixels), b"")

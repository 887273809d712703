import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.face.similarity import (
    TEMPLATE,
    anchor_points,
    compose,
    crop_scale,
    crop_size,
    crop_to_canvas,
    estimate_similarity,
    invert,
    transform,
)
from tests.golden import golden_arrays


@pytest.mark.parametrize(("resolution", "size"), [(256, (210, 280)), (512, (420, 560)), (384, (314, 419))])
def test_crop_sizes(resolution, size):
    assert crop_size(resolution) == size


@pytest.mark.parametrize("resolution", [256, 512])
def test_matrices_of_ten_recorded_poses(resolution):
    golden = golden_arrays("geometry/head")
    for points, expected in zip(golden["landmarks3_head"], golden[f"affine_head_{resolution}_nosmooth"], strict=True):
        matrix = estimate_similarity(points, resolution)
        assert matrix.dtype == np.float64
        assert np.abs(matrix[:, :2] - expected[:, :2]).max() < 1e-5
        assert np.abs(matrix[:, 2] - expected[:, 2]).max() < 1e-3


def test_anchors_of_106_points_are_the_recorded_ones_before_rounding():
    golden = golden_arrays("geometry/head")
    for landmarks, points in zip(golden["landmarks106"], golden["landmarks3_head"], strict=True):
        assert np.array_equal(np.round(anchor_points(landmarks)), points)


def test_anchors_of_68_points():
    landmarks = np.arange(136, dtype=np.float32).reshape(68, 2)
    assert np.array_equal(anchor_points(landmarks), [[38, 39], [48, 49], [62, 63]])


@given(
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-4000, 4000), st.floats(-4000, 4000)),
    resolution=st.sampled_from([256, 512]),
)
def test_a_moved_template_is_brought_back_exactly(angle, scale, shift, resolution):
    template = TEMPLATE * crop_scale(resolution)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = scale * template @ rotation.T + shift
    matrix = estimate_similarity(points, resolution)
    assert np.abs(transform(matrix, points) - template).max() < 1e-6
    assert np.linalg.det(matrix[:, :2]) > 0


def test_mirrored_points_give_no_reflection():
    points = TEMPLATE * [-1, 1]
    assert np.linalg.det(estimate_similarity(points, 256)[:, :2]) > 0


def test_canvas_corners_are_crop_corners():
    edges = transform(crop_to_canvas(256), np.array([[-0.5, -0.5], [209.5, 279.5]]))
    assert np.abs(edges - [[-0.5, -0.5], [255.5, 255.5]]).max() < 1e-12


def test_compose_and_invert():
    first, second = np.array([[1, 2, 3], [4, 6, 5.0]]), np.array([[0.5, -1, 2], [2, 1, -7.0]])
    points = np.array([[1.0, 2.0], [-3.0, 0.5]])
    assert np.allclose(transform(compose(second, first), points), transform(second, transform(first, points)))
    assert np.allclose(transform(invert(first), transform(first, points)), points)


@pytest.mark.parametrize("points", [np.ones((3, 2)), np.full((3, 2), np.nan), np.zeros((2, 3))])
def test_useless_points_are_refused(points):
    with pytest.raises(ValueError, match="points"):
        estimate_similarity(points, 256)


def test_useless_landmarks_are_refused():
    with pytest.raises(ValueError, match="landmarks"):
        anchor_points(np.zeros((5, 2)))

"""Against images and matrices recorded from the published releases."""

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner
from latentsync.face.compat import CompatMatrices, paste_compat
from latentsync.face.mask import load_mask
from latentsync.types import ArrayFrame, Compat
from tests.golden import golden_arrays, shared_file


def image(name: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(shared_file(f"golden/geometry/{name}.png"))), cv2.COLOR_BGR2RGB)


def mean_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual.astype(np.float64) - expected).mean())


def levels(pixels: np.ndarray) -> np.ndarray:
    return (pixels.transpose(1, 2, 0) + 1) * 127.5


@pytest.mark.parametrize("resolution", [256, 512])
def test_matrices_of_1_6(resolution):
    golden = golden_arrays("geometry/head")
    matrices = CompatMatrices(Compat.V1_6, resolution)
    for landmarks, expected in zip(golden["landmarks106"], golden[f"affine_head_{resolution}_smooth"], strict=True):
        matrix = matrices.next(landmarks)
        assert np.abs(matrix[:, :2] - expected[:, :2]).max() < 1e-5
        assert np.abs(matrix[:, 2] - expected[:, 2]).max() < 1e-3


def test_matrices_of_1_0():
    golden = golden_arrays("geometry/v1")
    matrices = CompatMatrices(Compat.V1_0, 256)
    for landmarks, expected in zip(golden_arrays("geometry/head")["landmarks68"], golden["affine_v1"], strict=True):
        assert np.abs(matrices.next(landmarks) - expected).max() < 1e-3


def test_running_offset_is_carried_and_starts_anew_with_a_new_run():
    golden = golden_arrays("geometry/head")
    plain, offset = golden["affine_head_256_nosmooth"], golden["p_bias_head_256"]
    for _ in range(2):
        matrices = CompatMatrices(Compat.V1_6, 256)
        for landmarks, matrix, expected in zip(golden["landmarks106"], plain, offset, strict=True):
            assert np.abs(matrices.next(landmarks)[:, 2] - matrix[:, 2] - expected).max() < 1e-3


@pytest.mark.shared
@pytest.mark.parametrize(
    ("release", "resolution", "prefix", "name"),
    [
        (Compat.V1_6, 256, "", "aligned_256_fp32"),
        (Compat.V1_6, 512, "", "aligned_512_fp32"),
        (Compat.V1_0, 256, "v1_", "v1_aligned_256"),
    ],
)
def test_crops_and_pasted_frames(release, resolution, prefix, name):
    frame = image("input_frame")
    landmarks = golden_arrays("geometry/head")["landmarks106" if release is Compat.V1_6 else "landmarks68"]
    aligner = FaceAligner(resolution, release)
    color = np.array([0.5, -0.25, 0.0], dtype=np.float32)[:, None, None]
    precision = "_fp32" if release is Compat.V1_6 else ""
    for index, points in enumerate(landmarks):
        matrix = aligner.matrix(points)
        if index not in (0, 9):
            continue
        face = aligner.crop(ArrayFrame.of(frame), matrix)
        assert mean_error(levels(face.pixels), image(f"{name}_frame{index}")) < 0.5
        canvas = np.broadcast_to(color, (3, resolution, resolution))
        pasted = paste_compat(frame, canvas, matrix, release)
        expected = image(f"{prefix}restored_const_{resolution}{precision}_frame{index}")
        assert mean_error(pasted, expected) < 0.5
        assert np.abs(pasted.astype(int) - expected).max() <= 2


@pytest.mark.shared
@pytest.mark.parametrize("resolution", [256, 512])
def test_a_face_pasted_back_unchanged(resolution):
    frame = image("input_frame")
    face = FaceAligner(resolution, Compat.V1_6).align(
        ArrayFrame.of(frame), golden_arrays("geometry/head")["landmarks106"][0]
    )
    pasted = paste_compat(frame, face.pixels, face.matrix, Compat.V1_6)
    assert mean_error(pasted, image(f"restored_roundtrip_{resolution}_fp32_frame0")) < 0.5


@pytest.mark.shared
def test_network_pixels_and_masked_pixels():
    golden = golden_arrays("geometry/head")
    face = FaceAligner(256, Compat.V1_6).align(ArrayFrame.of(image("input_frame")), golden["landmarks106"][0])
    rows = golden["pixel_values_256_rows_idx"]
    assert np.abs(face.pixels[:, rows] - golden["pixel_values_256_rows"]).mean() < 0.5 / 127.5
    masked = face.pixels * load_mask("mask", 256)
    assert np.abs(masked[:, rows] - golden["masked_pixel_values_256_rows"]).mean() < 0.5 / 127.5


@pytest.mark.parametrize("release", list(Compat))
def test_pasting_beside_the_frame_changes_nothing(release):
    frame = np.full((40, 60, 3), 90, dtype=np.uint8)
    matrix = np.array([[1.0, 0, 5000], [0, 1, 5000]])
    pasted = paste_compat(frame, np.zeros((3, 256, 256), np.float32), matrix, release)
    assert np.array_equal(pasted, frame)


def test_1_5_keeps_the_matrices_of_1_0_and_resamples_otherwise():
    landmarks = golden_arrays("geometry/head")["landmarks68"]
    frame = np.random.default_rng(0).integers(0, 256, (640, 600, 3), dtype=np.uint8)
    first, second = (
        FaceAligner(256, release).align(ArrayFrame.of(frame), landmarks[0]) for release in (Compat.V1_0, Compat.V1_5)
    )
    assert np.array_equal(first.matrix, second.matrix)
    assert np.abs(first.pixels - second.pixels).mean() > 0.01

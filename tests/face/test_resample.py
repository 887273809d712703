import cv2
import numpy as np
import pytest

from latentsync.face.resample import warp, warp_frame, warp_frame_bilinear
from latentsync.types import ArrayFrame


def test_identity_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.abs(warp(image, np.array([[1.0, 0, 0], [0, 1, 0]]), (30, 20), 0) - image).max() < 1e-3


def test_outside_the_image_is_fill_and_inside_a_constant_stays():
    image = np.full((20, 20, 3), 200, dtype=np.uint8)
    shifted = warp(image, np.array([[1.0, 0, 30], [0, 1, 0]]), (80, 20), 127)
    assert np.allclose(shifted[:, :20], 127)
    assert np.allclose(shifted[5:15, 38:42], 200)
    assert np.allclose(shifted[:, 60:], 127)


@pytest.mark.parametrize("offset", [-1e7, -300.0, 300.0, 1e7])
def test_far_beside_the_image_costs_nothing(offset):
    image = np.zeros((10, 10, 3), dtype=np.uint8)
    assert np.allclose(warp(image, np.array([[0.5, 0, offset], [0, 0.5, 0]]), (40, 40), 127)[:, :30], 127)


@pytest.mark.parametrize("step", [0.6, 0.5, 0.31, 0.2, 0.06])
def test_shrinking_removes_what_the_target_cannot_hold(step):
    size = int(600 * step)
    matrix = np.array([[step, 0, 0], [0, step, 0.0]])
    stripes = np.broadcast_to((np.arange(600) % 2 * 255).astype(np.uint8)[None, :, None], (600, 600, 3))
    shrunk = warp(stripes, matrix, (size, size), 127)[:, size // 4 : size // 2]
    assert np.abs(shrunk - 127.5).max() < 4


@pytest.mark.parametrize("step", [0.9, 0.5, 0.31, 0.2, 1.7])
def test_positions_and_contrast_of_a_slow_wave_survive(step):
    period = 8 / min(step, 1)  # source pixels, 8 target pixels
    x = np.arange(600)
    wave = 127 + 100 * np.sin(2 * np.pi * x / period)
    image = np.broadcast_to(wave.astype(np.float32)[None, :, None], (64, 600, 1))
    offset = 3.3
    width = int(600 * step) - 20
    warped = warp(np.ascontiguousarray(image), np.array([[step, 0, offset], [0, step, 0]]), (width, 8), 127)
    source = (np.arange(width) - offset) / step
    expected = 127 + 100 * np.sin(2 * np.pi * source / period)
    assert np.abs(warped[4, 20:-20, 0] - expected[20:-20]).max() < 4  # 2.5 % is the cubic step's own overshoot


class Watched:
    """A frame that remembers which box of it was asked for."""

    def __init__(self, pixels):
        self._frame = ArrayFrame.of(pixels)
        self.shape = self._frame.shape

    def region(self, box):
        self.asked_for = box
        return self._frame.region(box)


@pytest.mark.parametrize("centre", [(150, 100), (2, 3), (299, 199), (-60, 100), (900, 900)])
@pytest.mark.parametrize("step", [0.1, 0.4, 0.9, 2.5])
def test_a_look_at_a_frame_sees_what_the_whole_picture_gives(step, centre):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    linear = step * np.array([[0.98, 0.2], [-0.2, 0.98]])
    matrix = np.column_stack([linear, (16, 16) - linear @ np.array(centre)])
    frame = Watched(pixels)
    np.testing.assert_array_equal(warp_frame(frame, matrix, (32, 32), 127), warp(pixels, matrix, (32, 32), 127))
    if step >= 0.9:
        x0, y0, x1, y1 = frame.asked_for
        assert (x1 - x0) * (y1 - y0) <= 60 * 60 < 200 * 300
    plain = cv2.warpAffine(pixels, matrix, (32, 32), flags=cv2.INTER_LINEAR)
    difference = np.abs(warp_frame_bilinear(frame, matrix, (32, 32)).astype(int) - plain)
    assert difference.max() <= 5 and difference.mean() < 0.5  # OpenCV places pixels to 1/32

"""Grey levels to [-1, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.levels import denormalize_canvas, normalize, normalize_canvas, to_image

LEVELS = np.arange(256, dtype=np.uint8)


def test_each_level_is_the_nearest_float_to_its_value():
    values = normalize(torch.from_numpy(LEVELS))
    assert values.dtype is torch.float32
    assert values[0] == -1
    assert values[255] == 1
    np.testing.assert_allclose(values.numpy(), LEVELS / 127.5 - 1, atol=2**-24)


def test_canvases_have_the_same_values_to_the_last_bit_but_one():
    values = normalize_canvas(LEVELS.astype(np.float32))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, LEVELS / 127.5 - 1, atol=2**-23)


@pytest.mark.parametrize("there", ["tensor", "canvas"])
def test_every_level_comes_back(there):
    image = np.broadcast_to(LEVELS.reshape(1, 16, 16), (3, 16, 16))
    if there == "tensor":
        canvas = normalize(torch.from_numpy(image.copy())).numpy()
    else:
        canvas = normalize_canvas(image.astype(np.float32))
    np.testing.assert_allclose(denormalize_canvas(canvas), image, atol=1e-4)
    back = to_image(canvas)
    assert back.dtype == np.uint8
    assert np.array_equal(back, image.transpose(1, 2, 0))


def test_an_image_has_the_nearest_levels_and_is_cut_at_black_and_white():
    canvas = np.array([-1.5, -1, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 1 - 0.49 / 127.5, 1, 7], dtype=np.float32)
    assert to_image(canvas.reshape(1, 1, -1)).ravel().tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_images_in_a_batch_are_those_on_their_own():
    canvas = np.random.default_rng(0).uniform(-1, 1, (2, 4, 3, 5, 7)).astype(np.float32)
    images = to_image(canvas)
    assert images.shape == (2, 4, 5, 7, 3)
    assert np.array_equal(images[1, 2], to_image(canvas[1, 2]))

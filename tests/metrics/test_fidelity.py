"""PSNR, SSIM and LPIPS of parts of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from latentsync.metrics.fidelity import lpips_distance, psnr, ssim
from latentsync.models.lpips import build_lpips

IMAGE = np.random.default_rng(0).integers(30, 220, (64, 48, 3), dtype=np.uint8)
LOWER = np.zeros((64, 48), bool)
LOWER[32:] = True


def changed(region: np.ndarray, by: int) -> np.ndarray:
    return (IMAGE + by * region[..., None]).astype(np.uint8)


@given(st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_psnr_of_a_known_error(step: int) -> None:
    expected = 20 * np.log10(255 / step)
    result = changed(LOWER, step)
    assert psnr(result, IMAGE, LOWER) == pytest.approx(expected)
    assert psnr(result, IMAGE) == pytest.approx(expected + 10 * np.log10(2))  # half of the image
    assert psnr(result, IMAGE, ~LOWER) == float("inf")
    assert psnr(IMAGE, result, LOWER) == pytest.approx(expected)


def test_a_clip_is_pooled_before_the_logarithm() -> None:
    clip = np.stack([changed(LOWER, 10), IMAGE])
    reference = np.stack([IMAGE, IMAGE])
    assert psnr(clip, reference, LOWER) == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(2))


def test_a_region_of_weights() -> None:
    weights = np.where(LOWER, 0.75, 0.25)
    expected = 10 * np.log10(255**2 / (0.75 * 100))
    assert psnr(changed(LOWER, 10), IMAGE, weights) == pytest.approx(expected)


def test_ssim_is_that_of_the_field() -> None:
    result = np.random.default_rng(1).integers(0, 256, IMAGE.shape, dtype=np.uint8)
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].double() for x in (result, IMAGE))
    assert ssim(result, IMAGE) == pytest.approx(float(structural_similarity_index_measure(a, b, data_range=255.0)))
    assert ssim(result, IMAGE) == pytest.approx(ssim(IMAGE, result))


def test_ssim_inside_and_outside() -> None:
    noisy = IMAGE.copy()
    noisy[32:] = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    far_above = np.zeros_like(LOWER)
    far_above[:26] = True  # out of reach of the windows that see the change
    assert ssim(noisy, IMAGE, far_above) == pytest.approx(1)
    assert ssim(noisy, IMAGE, LOWER) < 0.2
    parts = 0.5 * ssim(noisy, IMAGE, LOWER) + 0.5 * ssim(noisy, IMAGE, ~LOWER)
    assert ssim(noisy, IMAGE) == pytest.approx(parts)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_what_does_not_compare(metric) -> None:
    with pytest.raises(ValueError, match="must both be"):
        metric(IMAGE, IMAGE[:32])
    with pytest.raises(ValueError, match="uint8"):
        metric(IMAGE.astype(np.float32), IMAGE)
    with pytest.raises(ValueError, match="empty"):
        metric(IMAGE, IMAGE, np.zeros_like(LOWER))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_lpips().eval()
    with torch.no_grad():
        for layer in network.lins:
            layer.model[1].weight.abs_()  # the trained ones are not negative
    return network


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def test_only_the_region_counts_in_lpips(network, images) -> None:
    region = np.zeros((32, 32))
    region[:16] = 1
    other = images.copy()
    other[:, :16] = 255 - other[:, :16]
    assert lpips_distance(network, other, images) > 0
    assert lpips_distance(network, other, images, region) == pytest.approx(lpips_distance(network, other, images))
    assert lpips_distance(network, other, images, 1 - region) == pytest.approx(0, abs=1e-9)
    assert lpips_distance(network, images, images) == pytest.approx(0, abs=1e-9)


def test_lpips_is_the_mean_over_images(network, images) -> None:
    other = images.copy()
    other[0] = 128
    whole = lpips_distance(network, other, images)
    assert whole == pytest.approx(lpips_distance(network, other[:1], images[:1]) / 2)


def test_lpips_of_other_shapes_is_refused(network, images) -> None:
    with pytest.raises(ValueError, match="must both be"):
        lpips_distance(network, images[:1], images)

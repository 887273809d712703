"""LPIPS of a region."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.metrics.perceptual import lpips_distance
from latentsync.models.perceptual import build_lpips


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_lpips().eval()
    with torch.no_grad():
        for layer in network.lins:
            layer.model[1].weight.abs_()  # the trained ones are not negative
    return network


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def test_only_the_region_counts(network, pictures) -> None:
    region = np.zeros((32, 32))
    region[:16] = 1
    other = pictures.copy()
    other[:, :16] = 255 - other[:, :16]
    assert lpips_distance(network, other, pictures) > 0
    assert lpips_distance(network, other, pictures, region) == pytest.approx(lpips_distance(network, other, pictures))
    assert lpips_distance(network, other, pictures, 1 - region) == pytest.approx(0, abs=1e-9)
    assert lpips_distance(network, pictures, pictures) == pytest.approx(0, abs=1e-9)


def test_it_is_the_mean_over_pictures(network, pictures) -> None:
    other = pictures.copy()
    other[0] = 128
    whole = lpips_distance(network, other, pictures)
    assert whole == pytest.approx(lpips_distance(network, other[:1], pictures[:1]) / 2)


def test_other_shapes_are_refused(network, pictures) -> None:
    with pytest.raises(ValueError, match="must both be"):
        lpips_distance(network, pictures[:1], pictures)

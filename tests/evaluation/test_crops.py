"""Fidelity of crops: one look at each frame gives what the metrics say of inside and outside apart."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.evaluation import crops
from latentsync.evaluation.crops import FaceCrops, compare
from latentsync.metrics.fidelity import psnr, ssim

SIDE = 64
KEEP = np.ones((SIDE, SIDE), np.float32)
KEEP[SIDE // 2 :, 8:-8] = 0
KEEP[SIDE // 2 - 1, 8:-8] = 0.5  # a soft edge


def cropped(seed: int, frames: int, lost: tuple[int, ...] = ()) -> FaceCrops:
    faces = np.random.default_rng(seed).integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8)
    found = np.array([frame not in lost for frame in range(frames)])
    return FaceCrops(faces, np.full((frames, 68, 2), np.nan), found)


@pytest.mark.parametrize("stride", [1, 2])
def test_inside_and_outside_are_those_of_the_metrics(stride: int) -> None:
    mine, true = cropped(0, 7, lost=(2,)), cropped(1, 6)
    common = [0, 1, 3, 4, 5]
    few = common[::stride]
    both = compare(mine, true, stride)
    for region in (1 - KEEP, KEEP):
        expected = psnr(mine.faces[common], true.faces[common], region)
        assert crops.psnr(both, region) == pytest.approx(expected, rel=1e-9)
        likeness = [ssim(mine.faces[i], true.faces[i], region) for i in few]
        assert crops.ssim(both, region) == pytest.approx(np.mean(likeness), rel=1e-9)


def test_what_changes_inside_costs_nothing_outside() -> None:
    true = cropped(0, 3)
    faces = true.faces.copy()
    faces[:, KEEP == 0] //= 2
    both = compare(FaceCrops(faces, true.landmarks, true.found), true, 1)
    assert crops.psnr(both, KEEP) == float("inf")
    assert crops.psnr(both, 1 - KEEP) < 20


def test_crops_without_a_common_face_do_not_compare() -> None:
    with pytest.raises(DataError, match="no face in two common frames"):
        compare(cropped(0, 4, lost=(0, 1)), cropped(1, 4, lost=(2, 3)), 1)

"""Fidelity of strips of faces: one look at each frame gives what the metrics say of inside and outside apart."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.evaluation.pictures import FaceStrip, compared
from latentsync.metrics.fidelity import psnr, ssim

SIDE = 64
KEEP = np.ones((SIDE, SIDE), np.float32)
KEEP[SIDE // 2 :, 8:-8] = 0
KEEP[SIDE // 2 - 1, 8:-8] = 0.5  # a soft edge


def strip(seed: int, frames: int, lost: tuple[int, ...] = ()) -> FaceStrip:
    faces = np.random.default_rng(seed).integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8)
    found = np.array([frame not in lost for frame in range(frames)])
    return FaceStrip(faces, np.full((frames, 68, 2), np.nan), found)


@pytest.mark.parametrize("stride", [1, 2])
def test_inside_and_outside_are_those_of_the_metrics(stride: int) -> None:
    mine, true = strip(0, 7, lost=(2,)), strip(1, 6)
    common = [0, 1, 3, 4, 5]
    few = common[::stride]
    figures = compared(mine, true, KEEP, None, stride)
    for name, region in (("inside", 1 - KEEP), ("outside", KEEP)):
        expected = psnr(mine.faces[common], true.faces[common], region)
        assert figures[f"psnr_{name}"]() == pytest.approx(expected, rel=1e-9)
        likeness = [ssim(mine.faces[i], true.faces[i], region) for i in few]
        assert figures[f"ssim_{name}"]() == pytest.approx(np.mean(likeness), rel=1e-9)


def test_what_changes_inside_costs_nothing_outside() -> None:
    true = strip(0, 3)
    faces = true.faces.copy()
    faces[:, KEEP == 0] //= 2
    figures = compared(FaceStrip(faces, true.landmarks, true.found), true, KEEP, None, 1)
    assert figures["psnr_outside"]() == float("inf")
    assert figures["psnr_inside"]() < 20


def test_strips_without_a_common_face_do_not_compare() -> None:
    with pytest.raises(DataError, match="no face in two common frames"):
        compared(strip(0, 4, lost=(0, 1)), strip(1, 4, lost=(2, 3)), KEEP, None, 1)

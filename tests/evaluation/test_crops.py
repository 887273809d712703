"""Fidelity of crops: one look at each frame gives what the metrics say of inside and outside apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from latentsync.errors import DataError
from latentsync.evaluation import crops
from latentsync.evaluation.crops import FaceCrops, compare
from latentsync.evaluation.recordings import WindowJoins
from latentsync.metrics.fidelity import psnr, ssim
from tests.metrics.faces import landmarks

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


def drawn(lips: int, beside: int, frames: int = 4) -> FaceCrops:
    """A face of 256 pixels whose lips have a level of their own, and what is beside it another."""
    points = landmarks()
    face = np.full((256, 256, 3), 128, np.uint8)
    face[:, 20:60] = beside
    cv2.fillPoly(face, [np.rint(points[48:60]).astype(np.int32)], (lips, 60, 60))
    return FaceCrops(face[None].repeat(frames, 0), points[None].repeat(frames, 0), np.ones(frames, bool))


def test_lips_and_smudges_are_seen_where_both_have_landmarks() -> None:
    keep = np.ones((256, 256), np.float32)
    keep[100:220, 20:236] = 0
    source, smudged, pale = drawn(180, 128), drawn(180, 140), drawn(120, 128)
    assert crops.lips(compare(smudged, source, 1)) == 0 < 3 < crops.lips(compare(pale, source, 1))
    assert crops.smudges(compare(pale, source, 1), keep) == 0
    # The same color was changed above and below the mask: what is kept tells what is no smudge.
    assert crops.smudges(compare(smudged, source, 1), keep) > 1
    unknown = FaceCrops(source.faces, np.full_like(source.landmarks, np.nan), source.found)
    with pytest.raises(DataError, match="no landmarks in both"):
        crops.lips(compare(source, unknown, 1))


def test_joins_of_windows_need_a_face_in_every_frame() -> None:
    levels = np.cumsum(np.where(np.arange(96) % 16 == 0, 4, 2))
    faces = (levels[:, None, None, None] + np.zeros((1, SIDE, SIDE, 3))).astype(np.uint8)
    mine = FaceCrops(faces, np.full((96, 68, 2), np.nan), np.ones(96, bool))
    assert crops.joins(mine, KEEP, 16, None) == pytest.approx(2)
    assert crops.joins(mine, KEEP, 15, None) < 1.5
    assert crops.joins(mine, KEEP, 15, WindowJoins((16, 32, 48, 64, 80), 0)) == pytest.approx(2)
    assert crops.joins(mine, KEEP, 16, WindowJoins((20, 36, 52, 68, 84), 0)) < 1
    with pytest.raises(DataError, match="lost"):
        crops.joins(FaceCrops(faces, mine.landmarks, np.arange(96) != 5), KEEP, 16, None)


def test_crops_without_a_common_face_do_not_compare() -> None:
    with pytest.raises(DataError, match="no face in two common frames"):
        compare(cropped(0, 4, lost=(0, 1)), cropped(1, 4, lost=(2, 3)), 1)

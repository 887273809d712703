"""The published weights are not at hand: the networks are built with made-up ones, the arithmetic is tested alone."""

import numpy as np
import pytest
import torch

from latentsync.errors import WeightsCorruptError
from latentsync.face.backends import face_alignment
from latentsync.face.backends.face_alignment import FaceAlignmentDetector, heatmap_peaks
from latentsync.types import ArrayFrame


def heatmaps(points: np.ndarray) -> np.ndarray:
    """(1, n, 64, 64): a bell of one cell around each point (n, 2), on a slightly negative ground."""
    y, x = np.mgrid[:64, :64]
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    return (np.exp(-squared / 2) - 0.01).astype(np.float32)[None]


def test_peaks_are_found_between_the_cells():
    points = np.random.default_rng(0).uniform(4, 59, (68, 2))
    assert np.abs(heatmap_peaks(heatmaps(points))[0] - points).max() < 0.15


def test_peaks_at_the_edge_stay_at_the_edge():
    points = np.array([[0.0, 0.0], [63.0, 63.0], [0.0, 30.0]])
    assert np.abs(heatmap_peaks(heatmaps(points))[0] - points).max() < 1e-5


class Box(torch.nn.Module):
    """Stands for S3FD: one box in every image."""

    def detect_from_batch(self, batch: torch.Tensor) -> list:
        return [[np.array([100.0, 80, 180, 190, 0.99])] for _ in batch]


class Bells(torch.nn.Module):
    """Stands for 2D-FAN: finds the bright dot in its crop, for all points."""

    def forward(self, crop: torch.Tensor) -> list[torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(crop.mean(dim=1, keepdim=True), 4)
        return [torch.zeros(1), small.expand(-1, 68, -1, -1)]


@pytest.mark.parametrize("scale", [1, 3])
def test_points_come_back_to_frame_pixels(monkeypatch, scale):
    monkeypatch.setattr(FaceAlignmentDetector, "__init__", lambda self: None)
    detector = FaceAlignmentDetector()
    detector._s3fd, detector._fan, detector._device = Box(), Bells(), "cpu"
    frame = np.zeros((320 * scale, 320 * scale, 3), dtype=np.uint8)
    y, x = np.mgrid[: 320 * scale, : 320 * scale]
    dot = np.array([140.0, 150.0]) * scale
    if scale == 3:  # S3FD sees 640 px of 960, so its box lies elsewhere on the frame
        dot = np.array([210.0, 220.0])
    frame[...] = (255 * np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * 25)))[..., None]
    (found,) = detector.detect([ArrayFrame.of(frame)])
    assert np.abs(found[0].landmarks - dot).max() < 0.6
    assert found[0].score == pytest.approx(0.99)


@pytest.mark.slow
def test_both_forms_of_the_landmark_network_are_read(tmp_path):
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    torch.manual_seed(0)
    network = FAN(4).eval()
    plain, script, boxes = (
        tmp_path / name for name in ("2DFAN4-11f355bf06.pth.tar", "2DFAN4-cd938726ad.zip", "s3fd-619a316812.pth")
    )
    torch.save(network.state_dict(), plain)
    torch.jit.trace(network, torch.zeros(1, 3, 256, 256)).save(str(script))
    torch.save({name: torch.zeros_like(tensor) for name, tensor in s3fd().state_dict().items()}, boxes)
    crop = torch.rand(1, 3, 256, 256)
    answers = []
    for path in (plain, script):
        detector = FaceAlignmentDetector(boxes, path, "cpu")
        assert detector.detect([ArrayFrame.of(np.zeros((64, 64, 3), np.uint8))]) == [[]]
        with torch.inference_mode():
            answers.append(detector._fan(crop)[-1])
    assert torch.allclose(answers[0], answers[1], atol=1e-4)
    assert face_alignment.missing_files(tmp_path) == []


@pytest.mark.parametrize("name", ["s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip", "2DFAN4-11f355bf06.pth.tar"])
def test_a_foreign_file_is_named(tmp_path, name, monkeypatch):
    foreign = tmp_path / name
    foreign.write_bytes(b"version https://git-lfs")
    with pytest.raises(WeightsCorruptError, match=name):
        if name.startswith("s3fd"):
            FaceAlignmentDetector(foreign, foreign, "cpu")
        else:
            face_alignment._load_fan(foreign, "cpu")

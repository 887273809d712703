"""The published weights are not at hand: the networks are built with made-up ones, the arithmetic is tested alone."""

import numpy as np
import pytest
import torch

from latentsync.errors import OutOfMemoryError, WeightsCorruptError
from latentsync.face.backends import face_alignment
from latentsync.face.backends.face_alignment import (
    FaceAlignmentDetector,
    S3FDBoxes,
    heatmap_peaks,
    peak_positions,
    read_detector,
)
from latentsync.runtime.side_network import SideNetwork
from latentsync.types import ArrayFrame


def heatmaps(points: np.ndarray) -> np.ndarray:
    """(1, n, 64, 64): a bell of one cell around each point (n, 2), on a slightly negative ground."""
    y, x = np.mgrid[:64, :64]
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    return (np.exp(-squared / 2) - 0.01).astype(np.float32)[None]


def peaks_of(maps: np.ndarray) -> np.ndarray:
    found = SideNetwork(torch.device("cpu")).fetch(heatmap_peaks(torch.from_numpy(maps)))
    return peak_positions(*found, *maps.shape[2:])


def detector_of(boxes: torch.nn.Module, points: torch.nn.Module) -> FaceAlignmentDetector:
    return FaceAlignmentDetector(boxes, points, SideNetwork(torch.device("cpu")), "stubs")


def test_peaks_are_found_between_the_cells():
    points = np.random.default_rng(0).uniform(4, 59, (68, 2))
    assert np.abs(peaks_of(heatmaps(points))[0] - points).max() < 0.15


def test_peaks_at_the_edge_stay_at_the_edge():
    points = np.array([[0.0, 0.0], [63.0, 63.0], [0.0, 30.0]])
    assert np.abs(peaks_of(heatmaps(points))[0] - points).max() < 1e-5


class Box(torch.nn.Module):
    """Stands for S3FD: one box in every image."""

    def maps(self, images: torch.Tensor) -> list:
        return [images.new_zeros(len(images), 1)]

    def find(self, maps: list) -> list:
        return [[np.array([100.0, 80, 180, 190, 0.99])] for _ in maps[0]]


class Bells(torch.nn.Module):
    """Stands for 2D-FAN: finds the bright dot in its crop, for all points."""

    def forward(self, crop: torch.Tensor) -> list[torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(crop.mean(dim=1, keepdim=True), 4)
        return [torch.zeros(1), small.expand(-1, 68, -1, -1)]


@pytest.mark.parametrize("scale", [1, 3])
def test_points_come_back_to_frame_pixels(scale):
    detector = detector_of(Box(), Bells())
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
        detector = read_detector(boxes, path, "cpu")
        assert detector.detect([ArrayFrame.of(np.zeros((64, 64, 3), np.uint8))]) == [[]]
        with torch.inference_mode():
            answers.append(detector._fan(crop)[-1])
    assert torch.allclose(answers[0], answers[1], atol=1e-4)
    assert face_alignment.missing_files(tmp_path) == []


@pytest.mark.parametrize("name", ["s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip", "2DFAN4-11f355bf06.pth.tar"])
def test_a_foreign_file_is_named(tmp_path, name):
    foreign = tmp_path / name
    foreign.write_bytes(b"version https://git-lfs")
    with pytest.raises(WeightsCorruptError, match=name):
        if name.startswith("s3fd"):
            read_detector(foreign, foreign, "cpu")
        else:
            face_alignment._load_fan(foreign, "cpu")


class Limited(torch.nn.Module):
    """Refuses more than ``limit`` items at once."""

    def __init__(self, network, limit):
        super().__init__()
        self.network, self.limit, self.counts = network, limit, []
        self.find = getattr(network, "find", None)

    def maps(self, images):
        return self.forward(images, self.network.maps)

    def forward(self, images, function=None):
        self.counts.append(len(images))
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (function or self.network)(images)


def test_frames_and_faces_are_halved_when_memory_runs_out():
    frames = [ArrayFrame.of(np.full((320, 320, 3), 40 * k, np.uint8)) for k in range(6)]
    whole = detector_of(Box(), Bells()).detect(frames)
    boxes, points = Limited(Box(), 4), Limited(Bells(), 1)
    detector = detector_of(boxes, points)
    for _ in range(2):
        for found, expected in zip(detector.detect(frames), whole, strict=True):
            assert np.allclose(found[0].landmarks, expected[0].landmarks)
    assert boxes.counts == [6, 3, 3, 3, 3]  # what did not fit is not tried again
    assert points.counts == [3, 1] + [1] * 11


def test_a_frame_that_does_not_fit_is_named():
    detector = detector_of(Limited(Box(), 0), Bells())
    with pytest.raises(OutOfMemoryError, match="faces of a single frame"):
        detector.detect([ArrayFrame.of(np.zeros((64, 64, 3), np.uint8))])


def test_a_detector_that_does_not_fit_is_not_a_damaged_file(monkeypatch, tmp_path):
    def no_room(*arguments, **more):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("face_alignment.detection.sfd.sfd_detector.SFDDetector", no_room)
    with pytest.raises(OutOfMemoryError, match="face detector on cpu"):
        read_detector(tmp_path / "s3fd.pth", tmp_path / "fan.pth.tar", "cpu")


class Cuda(str):
    """A device's name that the package takes for a GPU's."""

    def __contains__(self, part):
        return part == "cuda" or super().__contains__(part)


def test_cudnn_goes_on_choosing_its_kernels_as_it_did(tmp_path, monkeypatch):
    from face_alignment.detection.sfd import net_s3fd
    from face_alignment.detection.sfd.detect import batch_detect

    torch.manual_seed(0)
    network = net_s3fd.s3fd().eval()
    path = tmp_path / "s3fd.pth"
    torch.save(network.state_dict(), path)
    boxes = S3FDBoxes(path, Cuda("cpu"))
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    before = torch.backends.cudnn.benchmark
    found = []
    monkeypatch.setattr(boxes._detector, "_filter_bboxes", found.append)
    with torch.inference_mode():
        expected = batch_detect(network, images, "cpu")
        boxes.find(SideNetwork(torch.device("cpu")).fetch(boxes.maps(images)))
    assert np.array_equal(np.stack(found), expected)  # as the package's own call gives them
    assert torch.backends.cudnn.benchmark == before

"""I3D, Inception v3 and face embeddings: their files, and what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import Inception3

from latentsync.errors import DataError, WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from latentsync.metrics.i3d import PixelRange, face_image, i3d_features, load_i3d
from latentsync.metrics.identity import SIDE, csim, face_square, load_face_embedding
from latentsync.metrics.inception import FidInception, inception_features, load_inception
from tests.metrics.faces import landmarks, turned
from tests.models.published import on_meta, shapes_of


class _Extremes(nn.Module):
    """In place of I3D: the extremes of its pixels, and the arguments of the call."""

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        flags = torch.tensor([float(rescale), float(resize), float(return_features)])
        return torch.cat([x.amin().view(1), x.amax().view(1), flags])[None]


class _Color(nn.Module):
    """In place of a face-recognition network: mean color."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


@pytest.mark.parametrize(("pixel_range", "lowest"), [(PixelRange.NETWORK, -1), (PixelRange.PUBLISHED, 0)])
def test_i3d_gets_the_range_that_is_asked_for(tmp_path: Path, pixel_range: PixelRange, lowest: float) -> None:
    torch.jit.script(_Extremes()).save(tmp_path / "i3d.pt")
    faces = np.zeros((16, 224, 224, 3), np.uint8)
    faces[3:] = 255
    found = i3d_features(load_i3d(tmp_path / "i3d.pt"), faces, pixel_range)
    assert found.tolist() == [lowest, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="16"):
        i3d_features(load_i3d(tmp_path / "i3d.pt"), faces[:5], pixel_range)


@pytest.mark.parametrize("load", [load_i3d, load_face_embedding])
def test_other_files_are_refused(tmp_path: Path, load) -> None:
    with pytest.raises(WeightsMissingError):
        load(tmp_path / "none.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "table.pt")
    with pytest.raises(WeightsCorruptError):
        load(tmp_path / "table.pt")


def test_a_face_is_cut_without_margin() -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[10:30, 20:60] = 200
    assert (face_image(frame, np.array([20, 10, 60, 30])) == 200).all()
    with pytest.raises(DataError, match="outside"):
        face_image(frame, np.array([90, 10, 120, 30]))


def test_inception_has_torchvisions_names() -> None:
    published = on_meta(lambda: Inception3(num_classes=1008, aux_logits=False, init_weights=False))
    assert shapes_of(on_meta(FidInception)) == shapes_of(published)


def test_inception_ignores_padding_and_pools_by_the_maximum_last(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FidInception().eval()
    pooled = []
    for block in (network.Mixed_5b, network.Mixed_6b, network.Mixed_7b, network.Mixed_7c):
        block.branch_pool.register_forward_pre_hook(lambda module, inputs: pooled.append(inputs[0]))
    even = torch.ones(1, 1280, 5, 5)
    network.Mixed_7b(even)
    assert torch.equal(pooled.pop(), even)  # an average over the padding would darken the border
    spike = torch.zeros(1, 2048, 5, 5)
    spike[..., 2, 2] = 9
    network.Mixed_7c(spike)
    assert pooled.pop().amax() == 9
    features = inception_features(network, np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8))
    assert features.shape == (9, 2048)
    assert np.isfinite(features).all()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    assert torch.equal(load_inception(tmp_path / "inception.pth").fc.weight, network.fc.weight)
    torch.save(network.fc.state_dict(), tmp_path / "part.pth")
    with pytest.raises(WeightsMismatchError):
        load_inception(tmp_path / "part.pth")


def test_faces_are_aligned_for_recognition_wherever_they_are() -> None:
    points = landmarks()
    frame = np.zeros((300, 300, 3), np.uint8)
    for x, y in points[36:42]:
        frame[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    square = face_square(frame, points)
    eye = np.argwhere(square[..., 0] > 100).mean(axis=0)
    assert square.shape == (SIDE, SIDE, 3)
    assert np.allclose(eye, [51.7, 38.3], atol=3)
    moved = face_square(np.roll(frame, 20, axis=1), turned(points, 0.0, 1.0, (20, 0)))
    assert np.abs(moved.astype(int) - square).mean() < 1


def test_the_same_person_scores_1(tmp_path: Path) -> None:
    torch.jit.script(_Color()).save(tmp_path / "embedding.pt")
    network = load_face_embedding(tmp_path / "embedding.pt")
    red, blue = np.zeros((2, 3, SIDE, SIDE, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    assert csim(network, red, red) == pytest.approx(1)
    assert csim(network, red, blue) == pytest.approx(-1 / 3)
    with pytest.raises(ValueError, match="must both be"):
        csim(network, red[:1], red)

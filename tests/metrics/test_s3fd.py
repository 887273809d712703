"""S3FD: names, box arithmetic, suppression, and frames in, boxes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.errors import DataError, WeightsMismatchError
from latentsync.metrics.s3fd import (
    MEAN_RGB,
    S3FD,
    ChannelNorm,
    decode_boxes,
    detect_faces,
    load_s3fd,
    prior_boxes,
    select_faces,
)
from tests.models.published import on_meta, published_shapes, rule_filled, shapes_of

MAPS = [(45, 80), (22, 40), (11, 20), (5, 10), (3, 5), (2, 3)]


@pytest.fixture(scope="module")
def network() -> S3FD:
    return rule_filled(S3FD)


def test_names_and_shapes() -> None:
    assert shapes_of(on_meta(S3FD)) == published_shapes("s3fd")


def test_the_file(tmp_path: Path) -> None:
    shapes = published_shapes("s3fd")
    table = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    torch.save(table, tmp_path / "sfd_face.pth")
    assert shapes_of(load_s3fd(tmp_path / "sfd_face.pth")) == shapes
    torch.save({name: x for name, x in table.items() if name != "L2Norm4_3.weight"}, tmp_path / "other.pth")
    with pytest.raises(WeightsMismatchError, match="L2Norm4_3.weight"):
        load_s3fd(tmp_path / "other.pth")


def test_priors() -> None:
    priors = prior_boxes(MAPS)
    assert priors.shape == (sum(rows * columns for rows, columns in MAPS), 4)
    assert priors[0].tolist() == [2, 2, 16, 16]  # first cell of the finest map
    assert priors[81].tolist() == [6, 6, 16, 16]  # second row, second column
    assert priors[-1].tolist() == [2.5 * 128, 1.5 * 128, 512, 512]


@given(st.floats(-200, 800), st.floats(-200, 800), st.floats(4, 900), st.floats(4, 900), st.integers(0, 4655))
@settings(max_examples=60, deadline=None)
def test_decoding_undoes_encoding(x: float, y: float, width: float, height: float, index: int) -> None:
    priors = prior_boxes(MAPS)[index : index + 1].double()
    px, py, pw, ph = priors[0].tolist()
    numbers = [(x - px) / pw / 0.1, (y - py) / ph / 0.1, np.log(width / pw) / 0.2, np.log(height / ph) / 0.2]
    box = decode_boxes(torch.tensor([numbers], dtype=torch.float64), priors)
    expected = [[x - width / 2, y - height / 2, x + width / 2, y + height / 2]]
    np.testing.assert_allclose(box.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_the_network_says_nothing_about_a_box() -> None:
    priors = prior_boxes(MAPS)
    boxes = decode_boxes(torch.zeros(2, len(priors), 4), priors)
    np.testing.assert_allclose(boxes[1, 0].numpy(), [-6, -6, 10, 10])


def square(x: float, y: float, side: float) -> list[float]:
    return [x, y, x + side, y + side]


def test_suppression() -> None:
    boxes = torch.tensor(
        [
            square(0, 0, 100),  # kept: strongest
            square(5, 5, 100),  # much overlap with the first: goes in the loose suppression
            square(75, 0, 100),  # overlap 1/7 with the first: goes in the strict one
            square(300, 0, 100),  # kept: apart
            square(600, 0, 100),  # too weak
        ],
        dtype=torch.float32,
    )
    faces = select_faces(boxes, torch.tensor([0.99, 0.98, 0.97, 0.95, 0.9]), min_score=0.9, max_overlap=0.1)
    np.testing.assert_allclose(faces.numpy(), [[*square(0, 0, 100), 0.99], [*square(300, 0, 100), 0.95]], rtol=1e-6)


def test_a_removed_box_stays_removed() -> None:
    """B removes C loosely, A removes B strictly: C does not come back although it does not touch A."""
    boxes = torch.tensor([square(0, 0, 100), square(70, 0, 100), square(105, 0, 100)], dtype=torch.float32)
    faces = select_faces(boxes, torch.tensor([0.99, 0.98, 0.97]), min_score=0.9, max_overlap=0.1)
    assert faces[:, 0].tolist() == [0]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_survivors_barely_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 300, (60, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + rng.uniform(20, 120, (60, 2))])).float()
    scores = torch.from_numpy(rng.uniform(0, 1, 60)).float()
    faces = select_faces(boxes, scores, min_score=0.5, max_overlap=0.1).numpy()
    assert (faces[:, 4] > 0.5).all()
    assert (np.diff(faces[:, 4]) <= 0).all()
    assert faces[0, 4] == pytest.approx(float(scores.max()))
    for i, a in enumerate(faces):
        for b in faces[:i]:
            sides = np.maximum(np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]), 0)
            union = np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2]) - np.prod(sides)
            assert np.prod(sides) / union <= 0.1 + 1e-5


def test_nobody_there() -> None:
    assert select_faces(torch.zeros(0, 4), torch.zeros(0), 0.9, 0.1).shape == (0, 5)
    assert select_faces(torch.rand(9, 4), torch.full((9,), 0.01), 0.9, 0.1).shape == (0, 5)


def test_channel_norm() -> None:
    norm = ChannelNorm(8, 10.0)
    x = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x).norm(dim=1), torch.full((2, 3, 3), 10.0))
    torch.testing.assert_close(norm(x * 7), norm(x))


@torch.inference_mode()
def test_a_batch_is_its_images(network: S3FD) -> None:
    images = torch.rand(2, 3, 72, 104, generator=torch.Generator().manual_seed(0)) * 255
    boxes, scores = network(images)
    assert boxes.shape == (2, scores.shape[1], 4)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = network(images[1:])
    torch.testing.assert_close(boxes[1:], alone[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores[1:], alone[1], rtol=1e-4, atol=1e-5)


class OneFace(torch.nn.Module):
    """Says that the brightest place of the image is the centre of a face of 40 px."""

    def __init__(self) -> None:
        super().__init__()
        self.device_marker = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bright = (images + images.new_tensor(MEAN_RGB)[:, None, None]).sum(dim=1)
        place = bright.flatten(1).argmax(dim=1)
        x, y = (place % bright.shape[2]).float(), (place // bright.shape[2]).float()
        box = torch.stack([x - 20, y - 20, x + 20, y + 20], dim=1)[:, None]
        return box, torch.full((len(images), 1), 0.95)


def test_boxes_are_in_pixels_of_the_frame() -> None:
    frames = [np.zeros((480, 640, 3), np.uint8) for _ in range(2)]
    frames[0][198:206, 398:406], frames[1][98:106, 198:206] = 255, 255
    first, second = detect_faces(OneFace(), frames)
    np.testing.assert_allclose(first, [[320, 120, 480, 280, 0.95]], atol=4)
    np.testing.assert_allclose(second, [[120, 20, 280, 180, 0.95]], atol=4)


def test_frames_through_the_network(network: S3FD) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 160, 200, 3), dtype=np.uint8))
    found = detect_faces(network, frames)
    assert [faces.shape[1] for faces in found] == [5, 5]
    assert detect_faces(network, []) == []


def test_frames_that_are_too_small(network: S3FD) -> None:
    with pytest.raises(DataError, match="100 x 90 px are too small"):
        detect_faces(network, [np.zeros((90, 100, 3), np.uint8)])

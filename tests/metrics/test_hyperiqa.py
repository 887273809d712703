"""hyperIQA: names, recorded numbers, its file, and which pixels of which frames it rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import DataError, WeightsMismatchError
from latentsync.metrics.hyperiqa import HyperIQA, load_hyperiqa, quality
from tests.golden import golden_arrays, relative_error, rule_input
from tests.models.published import on_meta, published_shapes, rule_filled, shapes_of

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> HyperIQA:
    return rule_filled(HyperIQA)


def test_names_and_shapes() -> None:
    assert shapes_of(on_meta(HyperIQA)) == published_shapes("hyperiqa_hyper")


@torch.inference_mode()
def test_recorded_numbers(network: HyperIQA) -> None:
    golden = golden_arrays("evaluation/hyperiqa")
    target = network.target(rule_input("hyperiqa", (3, 3, 224, 224)))
    assert relative_error(target(), golden["prediction"]) < TOLERANCE
    assert relative_error(target.vector, golden["target_in_vec"][..., 0, 0]) < TOLERANCE
    for layer, (weight, bias) in enumerate(zip(target.weights, target.biases, strict=True), start=1):
        assert relative_error(bias, golden[f"target_fc{layer}b"]) < TOLERANCE
        assert relative_error(weight.abs().mean()[None], golden[f"target_fc{layer}w_meanabs"]) < TOLERANCE
        if layer > 2:
            assert relative_error(weight, golden[f"target_fc{layer}w"][..., 0, 0]) < TOLERANCE
        else:
            head = weight[0].flatten()[:512]
            assert relative_error(head, golden[f"target_fc{layer}w_first_item_first512"]) < TOLERANCE


def test_the_file(tmp_path: Path) -> None:
    shapes = published_shapes("hyperiqa_hyper")
    table = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    torch.save(table, tmp_path / "koniq_pretrained.pkl")
    assert shapes_of(load_hyperiqa(tmp_path / "koniq_pretrained.pkl")) == shapes
    torch.save(table | {"res.fc.weight": torch.zeros(1000, 2048)}, tmp_path / "other.pkl")
    with pytest.raises(WeightsMismatchError, match="no place for: res.fc.weight"):
        load_hyperiqa(tmp_path / "other.pkl")


class Brightness(torch.nn.Module):
    """Rates an image by its mean, undoing the normalisation of the first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.device_marker = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (3, 3, 224, 224)
        return (images[:, 0] * 0.229 + 0.485).mean(dim=(1, 2)) * 255


def test_first_middle_and_last_frame() -> None:
    frames = np.stack([np.full((256, 256, 3), 10 * i, np.uint8) for i in range(6)])
    assert quality(Brightness(), frames) == pytest.approx((0 + 30 + 50) / 3, abs=1e-3)
    assert quality(Brightness(), frames[2:3]) == pytest.approx(20, abs=1e-3)


def test_only_the_centre_counts() -> None:
    frame = np.full((300, 240, 3), 255, np.uint8)
    frame[38:262, 8:232] = 100
    assert quality(Brightness(), [frame]) == pytest.approx(100, abs=1e-3)


def test_frames_through_the_network(network: HyperIQA) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with torch.inference_mode():
        image = torch.from_numpy(frame[16:240, 16:240]).permute(2, 0, 1)[None].float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        expected = network((image - mean[:, None, None]) / std[:, None, None])
    assert quality(network, [frame]) == pytest.approx(float(expected), rel=1e-4)


def test_frames_that_cannot_be_rated(network: HyperIQA) -> None:
    with pytest.raises(DataError, match="these have 200 x 256 px"):
        quality(network, [np.zeros((256, 200, 3), np.uint8)])
    with pytest.raises(DataError, match="without frames"):
        quality(network, [])

"""The perceptual network from torchvision's VGG-16 file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentsync.checkpoint import load_lpips
from latentsync.errors import WeightsMismatchError, WeightsMissingError
from tests.golden import rule_tensor

WIDTHS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}


def vgg_state() -> dict[str, Tensor]:
    """torchvision's names and shapes of VGG-16; the classifier, which is not used, takes no room."""
    state, previous = {}, 3
    for index, width in WIDTHS.items():
        state[f"features.{index}.weight"] = rule_tensor(f"features.{index}.weight", (width, previous, 3, 3))
        state[f"features.{index}.bias"] = rule_tensor(f"features.{index}.bias", (width,))
        previous = width
    shapes = {"0": (4096, 25088), "3": (4096, 4096), "6": (1000, 4096)}
    for index, shape in shapes.items():
        state[f"classifier.{index}.weight"] = torch.zeros(()).expand(shape)
        state[f"classifier.{index}.bias"] = torch.zeros(shape[0])
    return state


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16-397923af.pth"
    torch.save(vgg_state(), path)
    return path


@torch.no_grad()
def test_trunk_and_linear_layers_come_from_their_files(vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("asked the network"))
    network = load_lpips(vgg_file)
    assert torch.equal(network.net.slice3._modules["12"].weight, rule_tensor("features.12.weight", (256, 256, 3, 3)))
    # The published linear layers are never negative, so the distance is none either.
    assert all((layer.model[1].weight >= 0).all() and layer.model[1].weight.any() for layer in network.lins)
    assert network.lins[4] is network.lin4
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    assert (network(image, image) == 0).all()
    assert (network(image, -image) > 0).all()
    assert not network.training


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    state = vgg_state()
    path = tmp_path / "vgg.pth"
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("features.28")}, path)
    with pytest.raises(WeightsMismatchError, match="lacks 2 of the 26 tensors of VGG-16: features.28"):
        load_lpips(path)
    torch.save(state | {"features.29.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatchError, match="no place for: features.29.weight"):
        load_lpips(path)
    with pytest.raises(WeightsMissingError):
        load_lpips(tmp_path / "nothing.pth")

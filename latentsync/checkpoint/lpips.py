"""Loading LPIPS: torchvision's VGG-16 file, and the linear layers inside the lpips package."""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

import torch
from lpips import LPIPS
from torch import Tensor

from latentsync.checkpoint.tensors import fill, read_table, refuse_extras, require_tensors, tensors_under
from latentsync.models.lpips import build_lpips

LINEAR_LAYERS = ("weights", "v0.1", "vgg.pth")  # inside the lpips package
_TRUNK = re.compile(r"net\.slice\d\.(.+)")  # lpips cuts the trunk into slices and leaves the layers their numbers
_CLASSIFIER = "classifier."  # VGG's last layers, which LPIPS does not use


def load_lpips(
    vgg_path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> LPIPS:
    """LPIPS in eval mode, ``vgg_path`` being torchvision's vgg16-397923af.pth. Nothing is downloaded.

    Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` if the file is no VGG-16.
    """
    vgg_path = Path(vgg_path)
    with torch.device("meta"):
        network = build_lpips()
    expected = network.state_dict()
    trunk = _read_trunk(vgg_path, expected)
    linear = _read_linear_layers(expected)
    own = {name: tensor for name, tensor in expected.items() if name.startswith("scaling_layer.")}
    return fill(network, trunk | linear | own, device, dtype)


def _read_trunk(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """VGG's convolutions under the names of LPIPS."""
    tensors = tensors_under(path, read_table(path), "state_dict")
    vgg_names = {f"features.{found[1]}": name for name in expected if (found := _TRUNK.fullmatch(name))}
    extras = require_tensors(path, tensors, {vgg: expected[name] for vgg, name in vgg_names.items()}, "VGG-16")
    refuse_extras(path, [name for name in extras if not name.startswith(_CLASSIFIER)], "VGG-16")
    return {name: tensors[vgg] for vgg, name in vgg_names.items()}


def _read_linear_layers(expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """LPIPS's own weights. Every layer has two names in the network, ``lin0.*`` and ``lins.0.*``, one in the file."""
    with as_file(files("lpips").joinpath(*LINEAR_LAYERS)) as path:
        tensors = tensors_under(path, read_table(path), "state_dict")
        wanted = {name: tensor for name, tensor in expected.items() if re.match(r"lin\d\.", name)}
        refuse_extras(path, require_tensors(path, tensors, wanted, "LPIPS"), "LPIPS")
    return tensors | {name.replace("lin", "lins.", 1): tensor for name, tensor in tensors.items()}

"""State-dict names and shapes of the published full-size networks, and models that hold the rule's weights."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from lpips import LPIPS
from lpips.lpips import ScalingLayer
from torch import nn

from latentsync.models.lpips import build_lpips
from tests.golden import DATA, rule_tensor


def published_shapes(name: str) -> dict[str, list[int]]:
    return json.loads(gzip.decompress((DATA / "keys" / f"{name}.json.gz").read_bytes()))


def shapes_of(module: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """The module without memory for its tensors."""
    with torch.device("meta"):
        return build()


def rule_filled(
    build: Callable[[], nn.Module], rule: Callable[[str, list[int]], torch.Tensor] = rule_tensor
) -> nn.Module:
    """A large module with the rule's weights, built without drawing initial ones."""
    module = on_meta(build)
    shapes = shapes_of(module)
    with ThreadPoolExecutor(max_workers=2) as pool:
        module.load_state_dict(dict(zip(shapes, pool.map(rule, shapes, shapes.values()), strict=True)), assign=True)
    return module.eval()


def rule_lpips() -> LPIPS:
    """Every linear layer has two names in the state dict; the rule goes by the first, 'lin0.model.1.weight'."""

    def weight(name: str, shape: list[int]) -> torch.Tensor:
        layer, _, constant = name.partition(".")
        if layer == "scaling_layer":
            return getattr(ScalingLayer(), constant)
        return rule_tensor(name.replace("lins.", "lin"), tuple(shape))

    return rule_filled(build_lpips, weight)

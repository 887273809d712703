"""Low-rank changes (LoRA, arXiv 2106.09685) attached to a U-Net for their training, by the package peft.

peft puts a module around each layer, so the state dict gets other names: those of the frozen layer and of the two
factors. A dub needs none of it, see ``checkpoint.adapter``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from latentsync.checkpoint.adapter import FACTOR_A, FACTOR_B, Adapter, LowRank
from latentsync.errors import ConfigError
from latentsync.extras import package_missing
from latentsync.models.unet import UNet3D

PLACES = ("attentions.", "motion_modules.")  # what is changed, as in the second stage of the published training

_NAME = "default"  # of the one adapter that peft knows of here
_FROZEN = ".base_layer."
_FACTORS = {f".lora_A.{_NAME}.weight": FACTOR_A, f".lora_B.{_NAME}.weight": FACTOR_B}


def changed_layers(network: nn.Module) -> list[str]:
    """The linear layers and convolutions of attentions and motion modules, by name.

    Raises ``ConfigError`` if there are none.
    """
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and any(place in name for place in PLACES)
    ]
    if not found:
        raise ConfigError("The U-Net has no attention that an adapter could change.", remedy="Name other weights.")
    return found


def attach(network: UNet3D, shape: LowRank) -> UNet3D:
    """The same network with changes of zero, the only ones that require gradients.

    The first factor is drawn by torch's global generator. Raises ``PackageMissingError`` without peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise package_missing("Training an adapter", "train", error) from error
    layers = changed_layers(network)
    network.requires_grad_(False)
    config = LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=layers, bias="none")
    inject_adapter_in_model(config, network, _NAME)
    return network


def factors_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the state dict of a network that ``attach`` gave: the factors, by the names of an adapter file."""
    found = {}
    for name, tensor in state.items():
        for inside, outside in _FACTORS.items():
            if name.endswith(inside):
                found[name.removesuffix(inside) + outside] = tensor
    return found


def merged(state: Mapping[str, Tensor], shape: LowRank) -> dict[str, Tensor]:
    """The same as the state dict of a plain U-Net, with the changes in its weights."""
    factors = factors_of(state)
    layers = {name.removesuffix(FACTOR_A) for name in factors if name.endswith(FACTOR_A)}
    pairs = {layer: (factors[layer + FACTOR_A], factors[layer + FACTOR_B]) for layer in layers}
    frozen = {name.replace(_FROZEN, "."): tensor for name, tensor in state.items() if not name.endswith((*_FACTORS,))}
    return Adapter(Path(), shape, pairs).merge(frozen, 1.0)

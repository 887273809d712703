"""The weights that a U-Net's training starts from: a release, a run of ours, or a Stable Diffusion 1.x U-Net.

What may differ between file and network is listed here by name; everything else must fit exactly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from latentsync.checkpoint.card import read_config
from latentsync.checkpoint.tensors import mismatch, refuse_extras, require_tensors, shorten
from latentsync.checkpoint.unet import MOTION_MODULES, read_unet
from latentsync.models.unet import UNet3D, UNetConfig

logger = logging.getLogger(__name__)

_AUDIO_PROJECTION = re.compile(r"\.attn2\.to_[kv]\.weight$")  # as wide as the audio encoder's features
_NOT_IN_SHAPES = ("num_attention_heads", "norm_num_groups", "norm_eps")
_MOTION_NOT_IN_SHAPES = ("motion_num_attention_heads",)


def start_unet(path: str | Path, config: UNetConfig) -> UNet3D:
    """The network of ``config`` in float32 on the CPU, with the weights of ``path``.

    Exempt, and logged: ``conv_in`` and ``conv_out`` whose channels differ stay zero (a Stable Diffusion U-Net sees 4
    channels), the audio projections whose width differs stay as they were drawn, motion modules that the file does not
    have stay as they were drawn (they change nothing at first), and those that the network does not have are left out.
    Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` for anything else that
    differs.
    """
    path = Path(path)
    weights = read_unet(path)
    if read_config(path) is not None:
        _require_same_blocks(path, weights.config, config)
    network = UNet3D(config)
    expected = network.state_dict()
    fresh = [name for name in expected if _is_fresh(name, expected, weights.state_dict)]
    wanted = {name: tensor for name, tensor in expected.items() if name not in fresh}
    extras = set(require_tensors(path, weights.state_dict, wanted, "the U-Net of the configuration")) - set(fresh)
    left_out = sorted(name for name in extras if MOTION_MODULES in name)
    refuse_extras(path, sorted(extras - set(left_out)), "the U-Net of the configuration")
    network.load_state_dict(expected | {name: weights.state_dict[name] for name in wanted})
    if fresh:
        logger.info("%s: %d tensors begin anew: %s", path, len(fresh), shorten(fresh))
    if left_out:
        logger.warning("%s: %d tensors of motion modules are left out: %s", path, len(left_out), shorten(left_out))
    return network


def _is_fresh(name: str, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> bool:
    """Whether a tensor of the network is exempt from being filled."""
    if MOTION_MODULES in name:
        return name not in stored
    if name not in stored:
        return False
    for end, axis in (("conv_in.", 1), ("conv_out.", 0)):
        if name.startswith(end):
            weight = f"{end}weight"
            return stored[weight].shape[axis] != expected[weight].shape[axis]
    return bool(_AUDIO_PROJECTION.search(name)) and stored[name].shape[1] != expected[name].shape[1]


def _require_same_blocks(path: Path, stored: UNetConfig, asked: UNetConfig) -> None:
    """Raise ``WeightsMismatchError`` for a difference that no tensor's shape shows."""
    both_move = stored.use_motion_module and asked.use_motion_module
    for name in _NOT_IN_SHAPES + _MOTION_NOT_IN_SHAPES * both_move:
        if getattr(stored, name) != getattr(asked, name):
            raise mismatch(path, f"has {name} {getattr(stored, name)}, the configuration {getattr(asked, name)}")

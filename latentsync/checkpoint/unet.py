"""U-Net files of releases 1.0, 1.5, 1.6 and our own: one strict way in; and the weights that a training starts from: a
release, a run of ours, or a Stable Diffusion 1.x U-Net.

What may differ between the file and the network that is trained is listed here by name; everything else must fit
exactly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentsync.checkpoint.adapter import AdapterChoice, read_adapter, require_base
from latentsync.checkpoint.card import read_card, read_config, require_resolution
from latentsync.checkpoint.tensors import (
    fill,
    mismatch,
    read_table,
    refuse_extras,
    require_tensors,
    shorten,
    tensors_under,
)
from latentsync.errors import ConfigError
from latentsync.models.unet import UNet3D, UNetConfig

logger = logging.getLogger(__name__)

# Release 1.0 called the audio layer of a transformer block by another name; shapes and mathematics are the same.
RELEASE_1_0_NAMES = {"audio_cross_attn.norm.": "norm2.", "audio_cross_attn.attn.": "attn2."}
RELEASE_1_0_LAYER = ".audio_cross_attn."
MOTION_MODULES = ".motion_modules."
_AUDIO_KEY = re.compile(r"\.transformer_blocks\.0\.attn2\.to_k\.weight$")


_AUDIO_PROJECTION = re.compile(r"\.attn2\.to_[kv]\.weight$")  # as wide as the audio encoder's features
_NOT_IN_SHAPES = ("num_attention_heads", "norm_num_groups", "norm_eps")
_MOTION_NOT_IN_SHAPES = ("motion_num_attention_heads",)


@dataclass(frozen=True, slots=True)
class UNetWeights:
    """A U-Net file as read: names are those of 1.5 and 1.6, and ``state_dict`` holds exactly what ``config`` needs."""

    config: UNetConfig
    state_dict: dict[str, Tensor]
    global_step: int | None
    is_release_1_0: bool  # whether the file has the names of that release
    extras: tuple[str, ...]  # names in the file that the network does not have; only release 1.0 may bring any


def load_unet_weights(path: str | Path) -> tuple[UNetConfig, dict[str, Tensor]]:
    """The architecture and the tensors of a U-Net file of any release, on the CPU, mapped from the file.

    Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` if a tensor is missing, has
    another shape, or has no place in the network. See ``read_unet`` for what release 1.0 may bring besides.
    """
    weights = read_unet(path)
    return weights.config, weights.state_dict


def read_unet(path: str | Path) -> UNetWeights:
    """As ``load_unet_weights``, with the training step and the names that were left out.

    Files of release 1.0 are known to be able to carry tensors that no U-Net uses; these are left out and logged by
    name. In any other file an unknown tensor is an error.
    """
    path = Path(path)
    table = read_table(path)
    tensors = tensors_under(path, table, "state_dict")
    is_release_1_0 = any(RELEASE_1_0_LAYER in name for name in tensors)
    if is_release_1_0:
        tensors, replaced = _rename_release_1_0(tensors)
    config = _config_of(path, tensors)
    with torch.device("meta"):
        expected = UNet3D(config).state_dict()
    extras = require_tensors(path, tensors, expected, "the U-Net that its tensors describe")
    if is_release_1_0:
        extras = [*extras, *replaced]
        if extras:
            logger.warning(
                "%s: %d tensors that the U-Net does not use are left out: %s", path, len(extras), shorten(extras)
            )
    else:
        refuse_extras(path, extras, "the U-Net")
    step = table.get("global_step")
    return UNetWeights(
        config=config,
        state_dict={name: tensors[name] for name in expected},
        global_step=int(step) if isinstance(step, int) else None,
        is_release_1_0=is_release_1_0,
        extras=tuple(extras),
    )


def load_unet(
    path: str | Path,
    *,
    resolution: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    adapter: AdapterChoice | None = None,
) -> UNet3D:
    """A U-Net in eval mode; its memory is one copy of the weights.

    With ``resolution`` (face side in pixels) weights trained at another one are refused. ``adapter`` is merged into the
    weights. Raises what ``load_unet_weights`` raises, and ``AdapterMismatchError``.
    """
    if resolution is not None:
        note = require_resolution(read_card(path), resolution)
        if note:
            logger.warning("%s: %s", path, note)
    config, state_dict = load_unet_weights(path)
    if config.in_channels != 3 * config.out_channels + 1:
        raise mismatch(
            Path(path),
            f"is a U-Net with {config.in_channels} input and {config.out_channels} output channels; LatentSync's takes "
            "noisy, masked and reference latents and the mask: 13 and 4, or 3 C + 1 and C",
        )
    if adapter is not None:
        require_base(adapter.path, Path(path))
        state_dict = read_adapter(adapter.path).merge(state_dict, adapter.strength)
    with torch.device("meta"):
        network = UNet3D(config)
    return fill(network, state_dict, device, dtype)


def _rename_release_1_0(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of 1.5 and 1.6, and the names that a renamed tensor took from another one."""
    renamed = {}
    for name, tensor in tensors.items():
        if RELEASE_1_0_LAYER in name:
            new_name = name
            for old, new in RELEASE_1_0_NAMES.items():
                new_name = new_name.replace(old, new)
            renamed[new_name] = tensor
    replaced = [name for name in tensors if name in renamed]
    others = {name: tensor for name, tensor in tensors.items() if RELEASE_1_0_LAYER not in name}
    return others | renamed, replaced


def _config_of(path: Path, tensors: Mapping[str, Tensor]) -> UNetConfig:
    """The configuration inside our own files, otherwise the one that the shapes spell out."""
    block = read_config(path)
    try:
        return UNetConfig.from_dict(block) if block is not None else infer_unet_config(tensors)
    except KeyError as error:
        raise mismatch(path, f"is no U-Net: it has no tensor {error.args[0]}") from error
    except ConfigError as error:
        raise mismatch(path, f"describes a network that does not exist ({error.message})") from error


def infer_unet_config(tensors: Mapping[str, Tensor]) -> UNetConfig:
    """The architecture that the names and shapes of a state dict (1.5 and 1.6 names) spell out.

    Not to be seen in tensors, and taken as in all published files: 8 attention heads, 32 norm groups, eps 1e-5.
    Raises ``KeyError`` with the name of a tensor that every U-Net has.
    """
    levels = _count(tensors, r"down_blocks\.(\d+)\.resnets\.0\.conv1\.weight")
    motion = [name for name in tensors if MOTION_MODULES in name]
    positions = next((tensors[name] for name in motion if name.endswith(".pos_encoder.pe")), None)
    conv_in, conv_out = _get(tensors, "conv_in.weight"), _get(tensors, "conv_out.weight")
    audio_key = next((name for name in tensors if _AUDIO_KEY.search(name)), None)
    if audio_key is None:
        raise KeyError("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    widths = tuple(_get(tensors, f"down_blocks.{i}.resnets.0.conv1.weight").shape[0] for i in range(levels))
    options = {} if positions is None else {"max_frames": positions.shape[1]}
    return UNetConfig(
        in_channels=conv_in.shape[1],
        out_channels=conv_out.shape[0],
        block_out_channels=widths,
        layers_per_block=_count(tensors, r"down_blocks\.0\.resnets\.(\d+)\.conv1\.weight"),
        cross_attention_dim=tensors[audio_key].shape[1],
        use_motion_module=bool(motion),
        motion_module_decoder_only=bool(motion) and not any(name.startswith("down_blocks.") for name in motion),
        **options,
    )


def _get(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = tensors[name]
    if tensor.ndim != 4:  # a convolution: out, in, height, width
        raise KeyError(f"{name} of four dimensions")
    return tensor


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different indices the group in ``pattern`` takes."""
    regex = re.compile(pattern)
    return len({found[1] for name in tensors if (found := regex.fullmatch(name))})


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

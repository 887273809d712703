"""The keys of the ``model:`` block of the published U-Net files, and which values each has had.

``UNetConfig.from_dict`` reads them and ``to_dict`` writes them, so they are also what our own checkpoints carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentsync.errors import ConfigError

# Keys of the published `model:` blocks that have only ever had one value.
_FIXED_KEYS: dict[str, Any] = {
    "act_fn": "silu",
    "add_audio_layer": True,
    "center_input_sample": False,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "sample_size": 64,  # the same number at every resolution: the network is fully convolutional and never reads it
    "resnet_time_scale_shift": "default",
    "motion_module_resolutions": [1, 2, 4, 8],
    "motion_module_mid_block": False,
    "motion_module_type": "Vanilla",
}
# The same for keys that only release 1.0 had, and for constructor arguments that no release set.
_FIXED_EXTRA_KEYS: dict[str, Any] = {
    "custom_audio_layer": False,
    "audio_condition_method": "cross_attn",
    "unet_use_cross_frame_attention": False,
    "unet_use_temporal_attention": False,
    "use_inflated_groupnorm": False,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "upcast_attention": False,
}
_FIXED_MOTION_KEYS: dict[str, Any] = {
    "num_transformer_block": 1,
    "attention_block_types": ["Temporal_Self", "Temporal_Self"],
    "temporal_position_encoding": True,
    "temporal_attention_dim_div": 1,
    "zero_initialize": True,
}
# Published key -> field, where the value may vary.
_REQUIRED_KEYS = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "block_out_channels": "block_out_channels",
    "layers_per_block": "layers_per_block",
    "attention_head_dim": "num_attention_heads",  # a misnomer that Stable Diffusion 1.x began: it is a count
    "cross_attention_dim": "cross_attention_dim",
    "norm_num_groups": "norm_num_groups",
    "norm_eps": "norm_eps",
    "use_motion_module": "use_motion_module",
}
_OPTIONAL_KEYS = {"motion_module_decoder_only": "motion_module_decoder_only"}
_MOTION_KEYS = {
    "num_attention_heads": "motion_num_attention_heads",
    "temporal_position_encoding_max_len": "max_frames",
}


def read_fields(model: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``UNetConfig`` that the block of any release sets, after every key has been checked.

    Raises ``ConfigError`` for a key that no release knows, a key that is missing, and a value that no release used
    where the published code fixes or ignores it.
    """
    block = {key: value for key, value in model.items() if key not in ("motion_module_kwargs", *_level_names(1))}
    motion = model.get("motion_module_kwargs", {})
    fields = _take(block, "", {**_REQUIRED_KEYS, **_OPTIONAL_KEYS}, {**_FIXED_KEYS, **_FIXED_EXTRA_KEYS})
    fields |= _take(motion, "motion_module_kwargs.", _MOTION_KEYS, _FIXED_MOTION_KEYS)
    missing = [key for key, name in _REQUIRED_KEYS.items() if name not in fields]
    if missing:
        raise config_error(f"the key {missing[0]} is missing")
    if not isinstance(fields["block_out_channels"], (list, tuple)):
        raise config_error("block_out_channels is not a list")
    return fields | {"block_out_channels": tuple(fields["block_out_channels"])}


def require_level_names(model: Mapping[str, Any], levels: int) -> None:
    """Raise ``ConfigError`` if the block names other kinds of levels than a network of ``levels`` levels has."""
    for key, names in _level_names(levels).items():
        if key in model:
            _require(key, model[key], names)


def write_block(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The block, as release 1.6 writes it, of a network with these ``fields`` of ``UNetConfig``."""
    block = {key: fields[name] for key, name in {**_REQUIRED_KEYS, **_OPTIONAL_KEYS}.items()}
    block["block_out_channels"] = list(block["block_out_channels"])
    motion = {key: fields[name] for key, name in _MOTION_KEYS.items()}
    levels = _level_names(len(block["block_out_channels"]))
    return _FIXED_KEYS | levels | block | {"motion_module_kwargs": _FIXED_MOTION_KEYS | motion}


def config_error(what: str) -> ConfigError:
    """The error for a configuration that fits no network."""
    return ConfigError(
        f"U-Net configuration: {what}.", remedy="Compare its model: block with the files under configs/unet/."
    )


def _level_names(levels: int) -> dict[str, list[str]]:
    """All levels but the lowest have attention."""
    return {
        "down_block_types": ["CrossAttnDownBlock3D"] * (levels - 1) + ["DownBlock3D"],
        "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * (levels - 1),
    }


def _take(block: Mapping[str, Any], prefix: str, variable: dict[str, str], fixed: dict[str, Any]) -> dict[str, Any]:
    fields = {}
    for key, value in block.items():
        if key in variable:
            fields[variable[key]] = value
        elif key in fixed:
            _require(prefix + key, value, fixed[key])
        else:
            raise config_error(f"the key {prefix}{key} is not known to any release")
    return fields


def _require(key: str, value: Any, only: Any) -> None:
    value = list(value) if isinstance(value, tuple) else value
    if value != only or isinstance(value, bool) != isinstance(only, bool):
        raise config_error(f"{key} is {value!r}, but only {only!r} is supported")

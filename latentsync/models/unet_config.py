"""The architecture of a U-Net as a small value that travels inside its checkpoint, and the keys of the ``model:`` block
of the published files, which it is read from and written as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latentsync.errors import ConfigError

_NOT_COUNTS = {"block_out_channels", "norm_eps", "use_motion_module", "motion_module_decoder_only"}
_MOST_LEVELS = 4  # the published motion modules are at scales 1, 2, 4 and 8
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


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """What decides the tensors of a U-Net and how it combines them. The defaults are the network of 1.5 and 1.6.

    Raises ``ConfigError`` for values that fit no network.
    """

    in_channels: int = 13
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)  # one level each; the last one has no attention
    layers_per_block: int = 2  # on the way down; one more on the way up
    num_attention_heads: int = 8
    cross_attention_dim: int = 384  # D: width of the audio tokens
    norm_num_groups: int = 32
    norm_eps: float = 1e-5  # of the residual blocks
    use_motion_module: bool = True
    motion_module_decoder_only: bool = False
    motion_num_attention_heads: int = 8
    max_frames: int = 24  # rows of the motion modules' position tables

    def __post_init__(self) -> None:
        for name in ("use_motion_module", "motion_module_decoder_only"):
            if not isinstance(getattr(self, name), bool):
                raise config_error(f"{name} is {getattr(self, name)!r}, not true or false")
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, (int, float)) or self.norm_eps <= 0:
            raise config_error(f"norm_eps is {self.norm_eps!r}, not a positive number")
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in _NOT_COUNTS}
        counts.update({f"block_out_channels[{i}]": width for i, width in enumerate(self.block_out_channels)})
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise config_error(f"{name} is {value!r}, not a positive whole number")
        if not 2 <= len(self.block_out_channels) <= _MOST_LEVELS:
            raise config_error(f"block_out_channels has {len(self.block_out_channels)} levels, not 2 to {_MOST_LEVELS}")
        for width in self.block_out_channels:
            for name in ("norm_num_groups", "num_attention_heads", "motion_num_attention_heads"):
                if width % getattr(self, name):
                    raise config_error(f"the width {width} cannot be divided by {name} {getattr(self, name)}")

    @classmethod
    def from_dict(cls, model: Mapping[str, Any]) -> UNetConfig:
        """Read the ``model:`` block of a U-Net configuration file of any release.

        Raises ``ConfigError`` for a key that no release knows, a key that is missing, and a value that no release
        used where the published code fixes or ignores it.
        """
        config = cls(**read_fields(model))
        require_level_names(model, len(config.block_out_channels))
        return config

    def to_dict(self) -> dict[str, Any]:
        """The ``model:`` block as release 1.6 writes it; ``from_dict`` gives the same configuration back."""
        return write_block(asdict(self))


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

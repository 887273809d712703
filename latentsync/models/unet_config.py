"""The architecture of a U-Net as a small value that travels inside its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latentsync.models.published_config_keys import config_error, read_fields, require_level_names, write_block

_NOT_COUNTS = {"block_out_channels", "norm_eps", "use_motion_module", "motion_module_decoder_only"}
_MOST_LEVELS = 4  # the published motion modules are at scales 1, 2, 4 and 8


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

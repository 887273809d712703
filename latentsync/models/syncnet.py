"""StableSyncNet: how well a mouth and the audio fit, as the cosine of two embeddings (arXiv 2412.09262, section 3.3).

N clips · C channels (frames folded in: F*3 pixels or F*4 latents) · 80 mel bands · M mel frames · E embedding width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import ConfigError

_GROUPS, _EPS, _HEADS = 32, 1e-6, 8  # the same in every published sync network


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """One of the two towers; the tuples have one entry per residual block. Raises ``ConfigError`` if they differ."""

    in_channels: int
    block_out_channels: tuple[int, ...]
    downsample_factors: tuple[tuple[int, int], ...]  # height, width; (1, 1) = none
    attn_blocks: tuple[bool, ...]  # whether an attention block follows the residual block
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.block_out_channels) == len(self.downsample_factors) == len(self.attn_blocks) > 0:
            raise _error("block_out_channels, downsample_factors and attn_blocks differ in length, or are empty")
        if any(len(factor) != 2 for factor in self.downsample_factors):
            raise _error("downsample_factors are single numbers or pairs of height and width")
        steps = [step for factor in self.downsample_factors for step in factor]
        counts = {"in_channels": [self.in_channels], "block_out_channels": self.block_out_channels}
        for name, values in (counts | {"downsample_factors": steps}).items():
            if not all(isinstance(value, int) and value > 0 for value in values):
                raise _error(f"{name} {list(values)} are not positive whole numbers")
        if any(width % _GROUPS for width in self.block_out_channels):
            raise _error(f"block_out_channels {list(self.block_out_channels)} are not all multiples of {_GROUPS}")

    @classmethod
    def from_dict(cls, tower: Mapping[str, Any]) -> TowerConfig:
        """Read an encoder block: factors may be single numbers; ``attn_blocks`` may be missing, which means none."""
        known = {field.name for field in fields(cls)}
        for name in (*tower, *known - {"attn_blocks", "dropout"}):
            if name not in known or name not in tower:
                raise _error(f"the key {name} of an encoder is {'missing' if name in known else 'not known'}")
        for name in ("block_out_channels", "downsample_factors", "attn_blocks"):
            if not isinstance(tower.get(name, ()), (list, tuple)):
                raise _error(f"{name} is {tower[name]!r}, not a list")
        widths = tuple(tower["block_out_channels"])
        return cls(
            in_channels=tower["in_channels"],
            block_out_channels=widths,
            downsample_factors=tuple(
                tuple(factor) if isinstance(factor, (list, tuple)) else (factor, factor)
                for factor in tower["downsample_factors"]
            ),
            attn_blocks=tuple(bool(flag) for flag in tower.get("attn_blocks", (0,) * len(widths))),
            dropout=tower.get("dropout", 0.0),
        )

    def embedding_width(self, height: int, width: int) -> int:
        """E for inputs (N, in_channels, height, width); below 1 if they are too small."""
        for down, right in self.downsample_factors:  # a strided axis is padded by one, see ResidualDownBlock
            height = height if down == 1 else (height - 2) // down + 1
            width = width if right == 1 else (width - 2) // right + 1
        return self.block_out_channels[-1] * max(height, 0) * max(width, 0)


@dataclass(frozen=True, slots=True)
class SyncNetConfig:
    """The architecture of a sync network; travels inside its checkpoint."""

    audio_encoder: TowerConfig
    visual_encoder: TowerConfig

    @classmethod
    def from_dict(cls, model: Mapping[str, Any]) -> SyncNetConfig:
        """Read the ``model:`` block of a sync network's configuration file; raises ``ConfigError``."""
        if set(model) != {"audio_encoder", "visual_encoder"}:
            raise _error(f"the keys are {sorted(model)}, not audio_encoder and visual_encoder")
        return cls(**{name: TowerConfig.from_dict(tower) for name, tower in model.items()})

    def to_dict(self) -> dict[str, Any]:
        """The ``model:`` block, every factor as a pair; ``from_dict`` gives the same configuration back."""
        return {name: {key: _plain(value) for key, value in tower.items()} for name, tower in asdict(self).items()}


class ResidualDownBlock(nn.Module):
    """Two convolutions added to the input, then a strided one."""

    def __init__(self, in_channels: int, out_channels: int, factor: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, in_channels, eps=_EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(_GROUPS, out_channels, eps=_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.downsample_conv = nn.Conv2d(out_channels, out_channels, 3, stride=factor) if factor != (1, 1) else None
        # Zeros before the strided convolution: on both sides of an axis that keeps its length, else only behind it.
        (top, left) = (int(step == 1) for step in factor)
        self.padding = (left, 1, top, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (N, C_in, h, w) -> (N, C_out, about h / factor, about w / factor)."""
        shortcut = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        hidden = self.conv1(F.silu(self.norm1(hidden)))
        hidden = shortcut + self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        if self.downsample_conv is None:
            return hidden
        return self.downsample_conv(F.pad(hidden, self.padding))


class AttentionBlock(nn.Module):
    """Self-attention and feed-forward over the feature map, added to the input."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, channels, eps=_EPS)
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads=_HEADS, dim_head=channels // _HEADS, dropout=dropout, bias=True)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, dropout=dropout, activation_fn="geglu")
        self.conv_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        tokens = rearrange(self.conv_in(self.norm1(hidden)), "n c h w -> n (h w) c")
        tokens = tokens + self.attn(self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return hidden + self.conv_out(rearrange(tokens, "n (h w) c -> n c h w", h=hidden.shape[2]))


class Tower(nn.Module):
    """Frames or mel spectrogram -> embedding with no negative entry, so that a cosine of two is a probability."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.block_out_channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for out_width, factor, attention in zip(
            config.block_out_channels, config.downsample_factors, config.attn_blocks, strict=True
        ):
            self.down_blocks.append(ResidualDownBlock(width, out_width, factor, config.dropout))
            if attention:
                self.down_blocks.append(AttentionBlock(out_width, config.dropout))
            width = out_width
        self.norm_out = nn.GroupNorm(_GROUPS, width, eps=_EPS)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (N, C, H, W) -> (N, E), unit length."""
        hidden = self.conv_in(hidden)
        for block in self.down_blocks:
            hidden = block(hidden)
        return F.normalize(F.relu(self.norm_out(hidden)).flatten(1), dim=1)


class StableSyncNet(nn.Module):
    """Two towers of the same design. State-dict names are the published ones, the same in 1.0, 1.5 and 1.6."""

    def __init__(self, config: SyncNetConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = Tower(config.audio_encoder)
        self.visual_encoder = Tower(config.visual_encoder)

    def forward(self, visual: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """visual (N, C, H, W), mel (N, 1, 80, M) -> (visual_embedding (N, E), audio_embedding (N, E)).

        ``visual`` is in [-1, 1] for a pixel network (see ``select_visual_input``), or latents in the U-Net's scale
        (see ``select_latent_input``).
        Embeddings have unit length and no negative entry.
        """
        return self.visual_encoder(visual), self.audio_encoder(mel)


def select_visual_input(pixels: Tensor, side: int = 256, lower_half: bool = True) -> Tensor:
    """Fold aligned faces (B, F, 3, R, R) in [-1, 1] into a pixel network's input (B, F*3, H, side).

    ``side`` is the R that the network was trained at: other faces are resized to it, bicubically and without
    antialiasing. Of the resized face the network gets the lower half (H = side/2), or all of it (H = side).
    """
    faces = pixels.flatten(0, 1)
    if faces.shape[-1] != side:
        faces = F.interpolate(faces, size=(side, side), mode="bicubic")
    seen = faces[:, :, side // 2 :] if lower_half else faces
    return seen.unflatten(0, pixels.shape[:2]).flatten(1, 2)


def select_latent_input(latents: Tensor, lower_half: bool = False) -> Tensor:
    """Fold latents (B, F, C, h, w) of whole faces into a latent network's input (B, F*C, H, w): H = h, or the lower
    h/2 rows."""
    return latents[..., latents.shape[-2] // 2 if lower_half else 0 :, :].flatten(1, 2)


def cosine_similarity(visual_embedding: Tensor, audio_embedding: Tensor) -> Tensor:
    """Cosines (N,) in [0, 1], float32, of unit-length embeddings (N, E) without negative entries."""
    return (visual_embedding.float() * audio_embedding.float()).sum(dim=1).clamp(0.0, 1.0)


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _error(what: str) -> ConfigError:
    return ConfigError(
        f"Sync network configuration: {what}.", remedy="Compare its model: block with the files under configs/syncnet/."
    )

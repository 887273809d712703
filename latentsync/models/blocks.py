"""The parts of the U-Net. Attribute names are a file format: they are the published state-dict names.

B clips · F frames · N = B*F · C channels · h, w feature map · S audio tokens per frame · D their width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.models.attention import feed_forward
from latentsync.models.motion import MotionModule
from latentsync.models.norms import ImageGroupNorm, JointGroupNorm
from latentsync.models.unet_config import UNetConfig


@dataclass(frozen=True, slots=True)
class Condition:
    """What every part of the network is told beside its input."""

    frames: int  # F
    time: Tensor  # (B, time width)
    audio: Tensor | None  # (N, S, D); None skips the audio attention
    guided: bool = False  # behind the first audio attention there are 2 N images: N with silent tokens, N with audio


def as_many(images: Tensor, count: int) -> Tensor:
    """(N, ...) as it is, or twice in a row where the two halves of a guided evaluation, ``count`` images, need it."""
    return images if len(images) == count else torch.cat([images, images])


class ResidualBlock(nn.Module):
    """Two convolutions around the time embedding, added to the input."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, config: UNetConfig) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.norm1 = JointGroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = JointGroupNorm(groups, out_channels, eps=eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, hidden: Tensor, condition: Condition) -> Tensor:
        """hidden (N, C_in, h, w) -> (N, C_out, h, w)."""
        frames = condition.frames
        shortcut = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        hidden = self.conv1(F.silu(self.norm1(hidden, frames)))
        time = self.time_emb_proj(F.silu(condition.time)).repeat_interleave(frames, dim=0)
        hidden = hidden + as_many(time, len(hidden))[:, :, None, None]
        return shortcut + self.conv2(F.silu(self.norm2(hidden, frames)))


class TransformerBlock(nn.Module):
    """Self-attention over the feature map, cross-attention to the audio of the frame, feed-forward."""

    def __init__(self, dim: int, num_heads: int, cross_attention_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=num_heads, dim_head=dim // num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, cross_attention_dim, heads=num_heads, dim_head=dim // num_heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(self, hidden: Tensor, condition: Condition) -> Tensor:
        """hidden (N, h*w, C) -> (N, h*w, C), or (2 N, h*w, C) from the first audio attention on if it is guided."""
        hidden = hidden + self.attn1(self.norm1(hidden))
        if condition.audio is None:
            return hidden + feed_forward(self.ff, self.norm3(hidden))
        if condition.guided:
            silent, heard = hidden.chunk(2) if len(hidden) > len(condition.audio) else (hidden, hidden)
            hidden = torch.cat([silent + self._silence(silent), heard + self._listen(heard, condition.audio)])
        else:
            hidden = hidden + self._listen(hidden, condition.audio)
        return hidden + feed_forward(self.ff, self.norm3(hidden))

    def _listen(self, hidden: Tensor, audio: Tensor) -> Tensor:
        return self.attn2(self.norm2(hidden), encoder_hidden_states=audio)

    def _silence(self, hidden: Tensor) -> Tensor:
        """(1, 1, C): what ``_listen`` gives for tokens that are all zero. Keys and values have no bias, so these are
        zero too, and the bias of the output is left."""
        return self.attn2.to_out[0](hidden.new_zeros(1, 1, hidden.shape[-1]))


class SpatialTransformer(nn.Module):
    """A transformer block on the feature map of each frame."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = ImageGroupNorm(config.norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        block = TransformerBlock(channels, config.num_attention_heads, config.cross_attention_dim)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor, condition: Condition) -> Tensor:
        """hidden (N, C, h, w) -> the same shape, or (2 N, C, h, w): see ``Condition.guided``."""
        tokens = rearrange(self.proj_in(self.norm(hidden)), "n c h w -> n (h w) c")
        for block in self.transformer_blocks:
            tokens = block(tokens, condition)
        images = self.proj_out(rearrange(tokens, "n (h w) c -> n c h w", h=hidden.shape[2]))
        return as_many(hidden, len(images)) + images


class Downsampler(nn.Module):
    """Halves height and width, rounding up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (N, C, h, w) -> (N, C, ceil(h/2), ceil(w/2))."""
        return self.conv(hidden)


class Upsampler(nn.Module):
    """Doubles height and width, or less by one where the way down had rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor, size: torch.Size) -> Tensor:
        """hidden (N, C, h, w) -> (N, C, *size)."""
        return self.conv(F.interpolate(hidden, size=size, mode="nearest"))


@dataclass(frozen=True, slots=True)
class StageShape:
    """What makes one level of the U-Net differ from another."""

    in_channels: Sequence[int]  # of each layer
    out_channels: int
    attentions: int  # layers that have a transformer, the first ones
    motion: bool  # whether all layers have a motion module
    resampled: bool = False  # whether the level ends in a sampler


class Stage(nn.Module):
    """What the levels of the U-Net have in common: layers of a residual block, a transformer and a motion module."""

    def __init__(self, config: UNetConfig, shape: StageShape) -> None:
        super().__init__()
        channels = shape.out_channels
        time_channels = 4 * config.block_out_channels[0]
        heads, max_frames, groups = config.motion_num_attention_heads, config.max_frames, config.norm_num_groups
        self.resnets = nn.ModuleList(
            ResidualBlock(entering, channels, time_channels, config) for entering in shape.in_channels
        )
        self.attentions = nn.ModuleList(SpatialTransformer(channels, config) for _ in range(shape.attentions))
        self.motion_modules = nn.ModuleList(
            MotionModule(channels, heads, max_frames, groups) for _ in shape.in_channels if shape.motion
        )
        self.gradient_checkpointing = False

    def layer(self, index: int, hidden: Tensor, condition: Condition) -> Tensor:
        """Layer ``index``: hidden (N, C_in, h, w) -> (N, C_out, h, w)."""
        hidden = self._run(self.resnets[index], hidden, condition)
        if index < len(self.attentions):
            hidden = self._run(self.attentions[index], hidden, condition)
        if index < len(self.motion_modules):
            hidden = self._run(self.motion_modules[index], hidden, condition.frames)
        return hidden

    def _run(self, module: nn.Module, *inputs: Tensor | Condition | int) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False)
        return module(*inputs)


class DownStage(Stage):
    """A level on the way down; all but the lowest end in a downsampler."""

    def __init__(self, config: UNetConfig, shape: StageShape) -> None:
        super().__init__(config, shape)
        self.downsamplers = nn.ModuleList([Downsampler(shape.out_channels)] if shape.resampled else [])

    def forward(self, hidden: Tensor, condition: Condition) -> list[Tensor]:
        """hidden (N, C_in, h, w) -> the outputs of all layers and of the downsampler, which goes on down."""
        outputs = []
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, condition)
            outputs.append(hidden)
        for downsampler in self.downsamplers:
            outputs.append(downsampler(hidden))
        return outputs


class MiddleStage(Stage):
    """The bottom of the U-Net."""

    def forward(self, hidden: Tensor, condition: Condition) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, condition)
        return hidden


class UpStage(Stage):
    """A level on the way up, whose layers see what the way down gave; all but the highest end in an upsampler."""

    def __init__(self, config: UNetConfig, shape: StageShape) -> None:
        super().__init__(config, shape)
        self.upsamplers = nn.ModuleList([Upsampler(shape.out_channels)] if shape.resampled else [])

    def forward(
        self, hidden: Tensor, skips: list[Tensor], condition: Condition, layers: slice = slice(None)
    ) -> Tensor:
        """hidden (N, C_in, h, w) -> (N, C_out, H, W) in the size of the next level.

        Each layer takes the last of ``skips`` out of the list. ``layers``: which of them run.
        """
        for index in range(len(self.resnets))[layers]:
            hidden = self.layer(index, torch.cat([hidden, as_many(skips.pop(), len(hidden))], dim=1), condition)
        for upsampler in self.upsamplers:
            hidden = upsampler(hidden, skips[-1].shape[2:])
        return hidden

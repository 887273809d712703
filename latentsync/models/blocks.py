"""The parts of the U-Net. Attribute names are a file format: they are the published state-dict names.

B clips · F frames · N = B*F pictures · C channels · h, w feature map · S audio tokens per frame · D their width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.models.motion import MotionModule
from latentsync.models.unet_config import UNetConfig


@dataclass(frozen=True, slots=True)
class Condition:
    """What every part of the network is told beside its input."""

    frames: int  # F
    time: Tensor  # (B, time width)
    audio: Tensor | None  # (N, S, D); None skips the audio attention


class JointGroupNorm(nn.GroupNorm):
    """Group norm whose statistics run over all frames of a clip, so that frames see each other's mean and contrast."""

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        height = hidden.shape[2]
        # For channels-last memory, stacking the frames of a clip on top of each other is a view, not a copy.
        clips = hidden.unflatten(0, (-1, frames)).transpose(1, 2).flatten(2, 3)  # (B, C, F*h, w)
        return super().forward(clips).unflatten(2, (frames, height)).transpose(1, 2).flatten(0, 1)


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
        hidden = hidden + time[:, :, None, None]
        return shortcut + self.conv2(F.silu(self.norm2(hidden, frames)))


class TransformerBlock(nn.Module):
    """Self-attention over the picture, attention to the sound of the frame, feed-forward."""

    def __init__(self, dim: int, num_heads: int, cross_attention_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=num_heads, dim_head=dim // num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, cross_attention_dim, heads=num_heads, dim_head=dim // num_heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, activation_fn="geglu")

    def forward(self, hidden: Tensor, audio: Tensor | None) -> Tensor:
        """hidden (N, h*w, C), audio (N, S, D) -> (N, h*w, C)."""
        hidden = hidden + self.attn1(self.norm1(hidden))
        if audio is not None:
            hidden = hidden + self.attn2(self.norm2(hidden), encoder_hidden_states=audio)
        return hidden + self.ff(self.norm3(hidden))


class SpatialTransformer(nn.Module):
    """A transformer block on the feature map of each frame."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        block = TransformerBlock(channels, config.num_attention_heads, config.cross_attention_dim)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor, condition: Condition) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        size = hidden.shape[2:]
        tokens = self.proj_in(self.norm(hidden)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, condition.audio)
        return hidden + self.proj_out(tokens.transpose(1, 2).unflatten(2, size))


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


class Stage(nn.Module):
    """One level of the U-Net, down, middle or up: layers of residual block, transformer and motion module.

    ``in_channels`` has one entry per layer. ``attentions`` may be fewer than the layers; the first layers have them.
    """

    def __init__(
        self,
        config: UNetConfig,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        attentions: int,
        motion: bool,
        resample: type[Downsampler] | type[Upsampler] | None = None,
    ) -> None:
        super().__init__()
        time_channels = 4 * config.block_out_channels[0]
        heads, max_frames, groups = config.motion_num_attention_heads, config.max_frames, config.norm_num_groups
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, out_channels, time_channels, config) for channels in in_channels
        )
        self.attentions = nn.ModuleList(SpatialTransformer(out_channels, config) for _ in range(attentions))
        self.motion_modules = nn.ModuleList(
            MotionModule(out_channels, heads, max_frames, groups) for _ in in_channels if motion
        )
        self.downsamplers = nn.ModuleList([Downsampler(out_channels)] if resample is Downsampler else [])
        self.upsamplers = nn.ModuleList([Upsampler(out_channels)] if resample is Upsampler else [])
        self.gradient_checkpointing = False

    def layer(self, index: int, hidden: Tensor, condition: Condition) -> Tensor:
        """Layer ``index``: hidden (N, C_in, h, w) -> (N, C_out, h, w)."""
        resnet, attention, motion = list(zip_longest(self.resnets, self.attentions, self.motion_modules))[index]
        hidden = self._run(resnet, hidden, condition)
        if attention is not None:
            hidden = self._run(attention, hidden, condition)
        if motion is not None:
            hidden = self._run(motion, hidden, condition.frames)
        return hidden

    def _run(self, module: nn.Module, *inputs: Tensor | Condition | int) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False)
        return module(*inputs)

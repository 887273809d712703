"""The motion module: attention over the frames of a window, each position of the feature map on its own.

After AnimateDiff (arXiv 2307.04725): its output projection starts at zero, so a new module changes nothing.

N = B*F frames · C channels · h, w feature map
"""

from __future__ import annotations

import math

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.attention import feed_forward
from latentsync.models.norms import ImageGroupNorm

# CUDA's attention kernels take at most 65535 sequences and index a backward pass in 32 bits; eight windows with
# guidance have 65536 at 512 px.
_MAX_SEQUENCES = 16_384


class SinusoidalPositions(nn.Module):
    """Adds the fixed position table of Vaswani et al. (arXiv 1706.03762, section 3.5) to a sequence of frames.

    In the precision of the sequence: FSDP casts weights and inputs, but leaves buffers in float32.
    """

    pe: Tensor  # (1, max_frames, C)

    def __init__(self, dim: int, max_frames: int) -> None:
        super().__init__()
        frame = torch.arange(max_frames).unsqueeze(1)
        angle = frame * torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # sines in even places, cosines in odd ones
        self.register_buffer("pe", table.unsqueeze(0))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (..., F, C) -> the same shape."""
        return hidden + self.pe[:, : hidden.shape[-2]].to(hidden.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames; positions are added to the normalised input, so the values carry them too."""

    def __init__(self, dim: int, num_heads: int, max_frames: int) -> None:
        super().__init__(query_dim=dim, heads=num_heads, dim_head=dim // num_heads)
        self.pos_encoder = SinusoidalPositions(dim, max_frames)

    def forward(self, hidden: Tensor) -> Tensor:  # type: ignore[override]  # nothing to attend to but itself
        """hidden (sequences, F, C) -> the same shape."""
        hidden = self.pos_encoder(hidden)
        if len(hidden) <= _MAX_SEQUENCES:
            return super().forward(hidden)
        return torch.cat([super(TemporalAttention, self).forward(part) for part in hidden.split(_MAX_SEQUENCES)])


class TemporalBlock(nn.Module):
    """Two temporal attentions and a feed-forward layer, each normalised before and added to its input."""

    def __init__(self, dim: int, num_heads: int, max_frames: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(dim, num_heads, max_frames) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.ff = FeedForward(dim, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (sequences, F, C) -> the same shape."""
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            hidden = hidden + attention(norm(hidden))
        return hidden + feed_forward(self.ff, self.ff_norm(hidden))


class TemporalTransformer(nn.Module):
    """Norm per frame, projection, temporal block, projection that starts at zero."""

    def __init__(self, channels: int, num_heads: int, max_frames: int, norm_num_groups: int) -> None:
        super().__init__()
        self.norm = ImageGroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, num_heads, max_frames)])
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        height, width = hidden.shape[-2:]
        sequences = self.proj_in(rearrange(self.norm(hidden), "(b f) c h w -> (b h w) f c", f=frames))
        for block in self.transformer_blocks:
            sequences = block(sequences)
        images = rearrange(self.proj_out(sequences), "(b h w) f c -> (b f) h w c", h=height, w=width)
        return hidden + images.movedim(-1, 1)  # channels-last memory, as ``hidden`` has it


class MotionModule(nn.Module):
    """The level of names that the published files have around the transformer."""

    def __init__(self, channels: int, num_heads: int, max_frames: int, norm_num_groups: int) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, num_heads, max_frames, norm_num_groups)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        return self.temporal_transformer(hidden, frames)

"""VideoMAE v2's encoder: what happens in a clip, as one vector (Wang et al. 2023, arXiv 2303.16727).

B clips · F frames · R side of a frame · N tokens (each a cube of tubelet frames and patch x patch pixels) · D width
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.constants import WINDOW_FRAMES, exact_div

_EPS = 1e-6  # of every layer norm


@dataclass(frozen=True, slots=True)
class VideoMAEConfig:
    """The architecture; as it stands, the ViT-giant/14 of the published file (fine-tuned on Something-Something v2).

    Raises ``ValueError`` if a size is not a multiple of its parts.
    """

    image_size: int = 224  # R, pixels
    patch_size: int = 14
    num_frames: int = WINDOW_FRAMES  # that the position table is laid out for
    tubelet_size: int = 2  # frames per token
    embed_dim: int = 1408  # D
    depth: int = 40
    num_heads: int = 16
    mlp_dim: int = 6144
    num_classes: int = 174  # of the classifier that the file brings along

    def __post_init__(self) -> None:
        exact_div(self.embed_dim, 2 * self.num_heads)  # positions are pairs of sine and cosine

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens over time, height and width."""
        side = exact_div(self.image_size, self.patch_size)
        return exact_div(self.num_frames, self.tubelet_size), side, side


class PatchEmbed(nn.Module):
    """Clip -> tokens, time-major."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.embed_dim, kernel, stride=kernel)

    def forward(self, clips: Tensor) -> Tensor:
        """clips (B, 3, F, R, R) -> (B, N, D)."""
        return rearrange(self.proj(clips), "b d t h w -> b (t h w) d")


class SelfAttention(nn.Module):
    """Queries and values have a bias of their own, keys none."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, D) -> the same shape."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(tokens, self.qkv.weight, bias)
        query, key, value = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=self.num_heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(rearrange(attended, "b heads n d -> b n (heads d)"))


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, D) -> the same shape."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to its input."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=_EPS)
        self.attn = SelfAttention(config.embed_dim, config.num_heads)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=_EPS)
        self.mlp = Mlp(config.embed_dim, config.mlp_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, D) -> the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VideoMAE(nn.Module):
    """The encoder. State-dict names are the published ones; the position table is computed and not among them."""

    positions: Tensor  # (time, height * width, D)

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.fc_norm = nn.LayerNorm(config.embed_dim, eps=_EPS)
        self.head = nn.Linear(config.embed_dim, config.num_classes)  # the file has it; features do not pass through it
        self.register_buffer("positions", _position_table(config.grid, config.embed_dim), persistent=False)
        self.gradient_checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of the blocks for the backward pass."""
        self.gradient_checkpointing = True

    def forward(self, clips: Tensor) -> Tensor:
        """clips (B, 3, F, R, R) in [0, 1] -> features (B, D): the layer norm of the mean over all tokens. See
        ``tokens``."""
        return self.fc_norm(self.tokens(clips).mean(dim=1))

    def tokens(self, clips: Tensor) -> Tensor:
        """clips (B, 3, F, R, R) in [0, 1] -> what the last block makes of their tokens (B, N, D), time-major.

        A clip of another number of frames than ``config.num_frames`` has its positions interpolated over time.
        Raises ``ValueError`` if the frames do not fill whole tokens, or are of another size.
        """
        side, tubelet = self.config.image_size, self.config.tubelet_size
        if clips.shape[2] % tubelet or clips.shape[-2:] != (side, side):
            raise ValueError(
                f"clips of shape {tuple(clips.shape)} for frames of {side} x {side}, whole groups of {tubelet}"
            )
        # FSDP casts weights and leaves buffers in float32; autocast leaves both, and then the sum is in float32.
        positions = self._positions(clips.shape[2] // tubelet).to(self.patch_embed.proj.weight.dtype)
        tokens = self.patch_embed(clips) + positions
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return tokens

    def _positions(self, steps: int) -> Tensor:
        """The position table for ``steps`` tokens over time: (N, D)."""
        known = len(self.positions)
        if steps == known:
            return self.positions.flatten(0, 1)
        # Linear over time. The published code asks for a tenth of a step more, so that rounding cannot cost one, and
        # thereby stretches the table by as much.
        series = self.positions.permute(1, 2, 0)
        stretched = F.interpolate(series, scale_factor=(steps + 0.1) / known, mode="linear")
        return stretched.permute(2, 0, 1).flatten(0, 1)


def _position_table(grid: tuple[int, int, int], dim: int) -> Tensor:
    """Sines in even places, cosines in odd ones (Vaswani et al., arXiv 1706.03762): (time, height * width, D) float32.

    Computed on the CPU wherever the network is built, the meta device included, since no file brings it.
    """
    time, height, width = grid
    index = torch.arange(time * height * width, dtype=torch.float64, device="cpu").unsqueeze(1)
    even = torch.arange(0, dim, 2, dtype=torch.float64, device="cpu")
    angle = index / 10_000 ** (even / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float().unflatten(0, (time, height * width))

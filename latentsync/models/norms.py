"""Group norms (arXiv 1803.08494) of the frames of a clip, each on its own or all together.

N = B*F frames · C channels · h, w feature map
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageGroupNorm(nn.GroupNorm):
    """Group norm of each frame on its own.

    For bfloat16 in channels-last memory torch's kernel for processors takes twenty times as long as that for plain
    memory (torch 2.14), so the frames are copied there and back.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (N, C, h, w) -> the same shape."""
        if hidden.dtype is not torch.bfloat16 or not hidden.is_cpu:
            return super().forward(hidden)
        return super().forward(hidden.contiguous()).contiguous(memory_format=torch.channels_last)


class JointGroupNorm(nn.GroupNorm):
    """Group norm whose statistics run over all frames of a clip, so that frames see each other's mean and contrast."""

    def forward(self, hidden: Tensor, frames: int) -> Tensor:  # type: ignore[override]  # F besides
        """hidden (N, C, h, w) -> the same shape."""
        height = hidden.shape[2]
        # (B*F, C, h, w) -> (B, C, F*h, w): for channels-last memory, stacking the frames of a clip on top of each other
        # is a view, not a copy. Not by einops, whose few microseconds a call add up in the most frequent layer.
        clips = hidden.unflatten(0, (-1, frames)).transpose(1, 2).flatten(2, 3)
        return super().forward(clips).unflatten(2, (frames, height)).transpose(1, 2).flatten(0, 1)

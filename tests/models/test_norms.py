"""Group norms in the memory layouts in which the U-Net keeps its feature maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latentsync.models.norms import ImageGroupNorm, JointGroupNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frames_on_their_own_are_normed_as_torch_does_and_stay_in_channels_last_memory(dtype):
    torch.manual_seed(0)
    frames = torch.randn(3, 8, 5, 4).to(dtype).to(memory_format=torch.channels_last)
    norm, usual = ImageGroupNorm(4, 8).to(dtype), nn.GroupNorm(4, 8).to(dtype)
    found = norm(frames)
    assert torch.allclose(found, usual(frames), atol=0.02 if dtype is torch.bfloat16 else 0)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_frames_of_a_clip_share_their_statistics():
    torch.manual_seed(0)
    frames = torch.randn(6, 8, 5, 4)
    clips = frames.unflatten(0, (2, 3)).transpose(1, 2)  # (2, 8, 3, 5, 4): three frames each
    norm = JointGroupNorm(4, 8)
    wanted = nn.GroupNorm(4, 8)(clips).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(norm(frames, 3), wanted, atol=1e-6)

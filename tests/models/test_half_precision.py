"""Weights in half precision, as FSDP gives them: it casts parameters and inputs, and leaves buffers in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE
from tests.golden import fill_by_rule, rule_input
from tests.models.networks import SMALL_VIDEOMAE, small_kl, small_syncnet

UNET = UNetConfig(
    block_out_channels=(8, 8), layers_per_block=1, num_attention_heads=1, motion_num_attention_heads=1,
    cross_attention_dim=8, norm_num_groups=4,
)  # fmt: skip
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Callable[..., Tensor]], Tensor]]] = {
    "U-Net with motion modules": (
        lambda: fill_by_rule(UNet3D(UNET)),
        lambda network, draw: network(draw("x", 1, 13, 3, 4, 4), torch.tensor([5]), draw("audio", 1, 3, 5, 8)),
    ),
    "video encoder": (
        lambda: fill_by_rule(VideoMAE(SMALL_VIDEOMAE)),
        lambda network, draw: network(draw("clip", 1, 3, 4, 32, 32)),
    ),
    "video encoder, positions interpolated": (
        lambda: fill_by_rule(VideoMAE(SMALL_VIDEOMAE)),
        lambda network, draw: network(draw("clip", 1, 3, 2, 32, 32)),
    ),
    "sync network": (
        small_syncnet,
        lambda network, draw: network(draw("faces", 1, 12, 16, 16), draw("mel", 1, 1, 80, 52))[0],
    ),
    "codec": (small_kl, lambda network, draw: network.decode(network.encode(draw("face", 1, 3, 16, 16))[0].mean)[0]),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", CASES)
def test_weights_in_half_precision_with_buffers_in_float32(name, dtype):
    build, run = CASES[name]
    network = build()
    with torch.no_grad():
        expected = run(network, rule_input_in(torch.float32))
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    assert all(buffer.dtype is torch.float32 for buffer in network.buffers())
    found = run(network, rule_input_in(dtype))
    assert found.dtype is dtype
    found.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert torch.nn.functional.cosine_similarity(found.detach().float().flatten(), expected.flatten(), 0) > 0.99


def rule_input_in(dtype: torch.dtype) -> Callable[..., Tensor]:
    return lambda name, *shape: rule_input(name, shape).to(dtype)

"""The U-Net's attention is diffusers' own, without its divisions by one."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch.utils._python_dispatch import TorchDispatchMode

from latentsync.models.attention import PlainAttention
from latentsync.models.unet import UNet3D
from tests.golden import fill_by_rule
from tests.inference import tiny_weights


class Divisions(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += function is torch.ops.aten.div.Tensor
        return function(*arguments, **(named or {}))


def evaluated(network):
    config = network.config
    draws = torch.Generator().manual_seed(0)
    sample = torch.randn(2, config.in_channels, 2, 8, 8, generator=draws)
    audio = torch.randn(2, 2, 50, config.cross_attention_dim, generator=draws, requires_grad=True)
    with Divisions() as divisions:
        predicted = network(sample, torch.tensor(10), audio)
    predicted.square().mean().backward()
    return predicted.detach(), audio.grad, divisions.count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_gives_the_same_to_the_bit_with_one_division_less_for_each_layer(dtype):
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found, gradient, divisions = evaluated(network)
        for layer in layers:
            assert isinstance(layer.processor, PlainAttention)
            layer.set_processor(AttnProcessor2_0())
        wanted, expected, with_divisions = evaluated(network)
    assert torch.equal(found, wanted) and torch.equal(gradient, expected)
    assert with_divisions - divisions == len(layers) > 0


def test_what_the_layers_do_not_have_is_refused():
    layer = Attention(8, heads=2, dim_head=4)
    with pytest.raises(ValueError, match="neither a mask"):
        PlainAttention()(layer, torch.zeros(1, 2, 8), attention_mask=torch.zeros(1, 2))

"""The U-Net's attention is diffusers' own, without its divisions by one; work in pieces gives what the whole gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from latentsync.models import attention
from latentsync.models.attention import (
    MOST_SCORES,
    SCORE_BYTES,
    AttentionInPieces,
    PlainAttention,
    attend_in_pieces,
    feed_forward,
    set_attention,
)
from latentsync.models.unet import UNet3D
from latentsync.training.unet.memory import PeakMemory
from tests.golden import fill_by_rule
from tests.inference import tiny_weights
from tests.inference.tiny_weights import UNET


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


@pytest.mark.parametrize("most", [2**20, 7 * 20 * 2, 1], ids=["at once", "two heads", "one by one"])
def test_attention_by_products_is_attention(most, monkeypatch):
    monkeypatch.setattr(attention, "MOST_PRODUCTS", most)
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, tokens, 8) for tokens in (7, 20, 20))
    wanted = F.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(attention.attend_by_products(query, key, value), wanted, rtol=1e-5, atol=1e-6)


def test_bfloat16_on_a_processor_is_as_near_to_single_precision_as_the_fused_kernel():
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    with torch.no_grad():
        wanted = evaluated_without_gradient(network)
        network.to(torch.bfloat16)
        by_products = evaluated_without_gradient(network)
        set_attention(network, AttnProcessor2_0())
        fused = evaluated_without_gradient(network)
    assert (by_products - wanted).norm() < 1.2 * (fused - wanted).norm()


def evaluated_without_gradient(network):
    draws, dtype = torch.Generator().manual_seed(0), next(network.parameters()).dtype
    sample = torch.randn(2, network.config.in_channels, 2, 8, 8, generator=draws).to(dtype)
    audio = torch.randn(2, 2, 50, network.config.cross_attention_dim, generator=draws).to(dtype)
    return network(sample, torch.tensor(10), audio).float()


def test_what_the_layers_do_not_have_is_refused():
    layer = Attention(8, heads=2, dim_head=4)
    with pytest.raises(ValueError, match="neither a mask"):
        PlainAttention()(layer, torch.zeros(1, 2, 8), attention_mask=torch.zeros(1, 2))


@pytest.mark.parametrize("most", [8 * 2 * 20 * 100, 8 * 2 * 20 * 7, 1], ids=["sequences", "queries", "one by one"])
@pytest.mark.parametrize("context", [None, 20])
def test_attention_in_pieces_is_attention(most, context):
    torch.manual_seed(0)
    attention = Attention(16, None if context is None else 12, heads=2, dim_head=8).eval()
    hidden = torch.randn(5, 20, 16)
    audio = None if context is None else torch.randn(5, context, 12)
    with torch.inference_mode():
        whole = attention(hidden, encoder_hidden_states=audio)
        attention.set_processor(AttentionInPieces(most))
        assert torch.allclose(attention(hidden, encoder_hidden_states=audio), whole, rtol=1e-5, atol=1e-6)


def test_the_codecs_attention_over_feature_maps_is_the_same_too():
    torch.manual_seed(0)
    options = {"norm_num_groups": 4, "residual_connection": True, "rescale_output_factor": 2}
    attention = Attention(16, heads=1, dim_head=16, **options, bias=True, _from_deprecated_attn_block=True).eval()
    hidden = torch.randn(3, 16, 6, 5)
    with torch.inference_mode():
        whole = attention(hidden)
        attention.set_processor(AttentionInPieces(8 * 30 * 30))
        assert torch.allclose(attention(hidden), whole, rtol=1e-5, atol=1e-6)


def test_a_whole_network_gives_the_same(monkeypatch):
    network = fill_by_rule(UNet3D(UNET)).eval()
    inputs = torch.randn(1, 13, 4, 8, 8), torch.tensor(5), torch.randn(1, 4, 50, UNET.cross_attention_dim)
    with torch.inference_mode():
        whole = network(*inputs)
        monkeypatch.setattr(attention, "MOST_SCORES", 20_000)
        attend_in_pieces(network)
        assert torch.allclose(network(*inputs), whole, rtol=1e-4, atol=1e-5)


def peak_of(processor):
    """Bytes of self-attention over the 64 x 64 tokens of two frames of 512 px, without a fused kernel."""
    with FakeTensorMode(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        attention = Attention(320, heads=8, dim_head=40).eval()
        if processor is not None:
            attention.set_processor(processor)
        hidden = torch.empty(2, 4096, 320)
        with PeakMemory() as memory:
            attention(hidden)
    return memory.peak


def test_memory_is_bounded_where_there_is_no_fused_kernel():
    assert peak_of(None) > 2 * 8 * 4096**2 * SCORE_BYTES
    assert peak_of(AttentionInPieces(MOST_SCORES)) < 1.5 * MOST_SCORES


def test_feed_forward_in_pieces(monkeypatch):
    """Only where nothing is kept for a backward pass, and not on a CPU."""
    torch.manual_seed(0)
    layer = FeedForward(16, activation_fn="geglu").eval()
    hidden = torch.randn(7, 5, 16)
    whole = layer(hidden)
    calls = []
    layer.register_forward_hook(lambda *seen: calls.append(len(seen[1][0])))
    monkeypatch.setattr(attention, "MOST_WIDENED", 8 * 5 * 16 * 3)
    assert torch.equal(feed_forward(layer, hidden), whole)
    with torch.no_grad():
        assert torch.equal(feed_forward(layer, hidden), whole)
        monkeypatch.setattr(torch.Tensor, "is_cpu", False)
        assert torch.allclose(feed_forward(layer, hidden), whole, rtol=1e-5, atol=1e-6)
    assert torch.allclose(feed_forward(layer, hidden), whole)
    assert calls == [7, 7, 3, 3, 1, 7]

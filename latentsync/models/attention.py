"""How the attention and feed-forward layers of the U-Net compute.

``PlainAttention`` is diffusers' default without what the U-Net has no use for. The default divides each result by
``rescale_output_factor``, which is 1 here: in one evaluation of the published U-Net 72 of its 1,438 operations, and 1.5
of the 44 GB that they move for one guided window of 256 px. The rest works on a piece of its input at a time, so that
what is widened, or the scores of all pairs of tokens, stays small.

N sequences · T tokens · S tokens attended to · C channels · H heads of D channels
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

MOST_PRODUCTS = 2**20  # scores of pairs of tokens at once, where they are computed as products: what caches hold
MOST_WIDENED = 2**26  # numbers in the widened tensor of a feed-forward layer: 128 MiB in half precision
WIDENING = 8  # of a gated feed-forward layer: 4 C, and as many for the gates
MOST_SCORES = 2**28  # bytes of attention scores at once
SCORE_BYTES = 8  # of each: in single precision, before and after the softmax


def attend_plainly(network: nn.Module) -> None:
    """Have all attention layers of ``network`` compute by ``PlainAttention``."""
    set_attention(network, PlainAttention())


def set_attention(network: nn.Module, processor: Callable[..., Tensor]) -> None:
    """Have all attention layers of ``network`` compute by ``processor``, in the sense of diffusers."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)  # type: ignore[arg-type]  # any callable will do


class PlainAttention:
    """An attention processor for diffusers, equal to its default to the last bit, for layers that only project and
    attend; in bfloat16 on a processor, without gradients, equal up to rounding. Raises ``ValueError`` for what the
    layers do not have: a mask, or an embedding of time."""

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (N, T, C), encoder_hidden_states (N, S, D) -> (N, T, C)."""
        if attention_mask is not None or temb is not None:
            raise ValueError("the attention layers of the U-Net take neither a mask nor an embedding of time")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attention.to_q(hidden_states), attention.to_k(context), attention.to_v(context)
        by_head = (part.unflatten(2, (attention.heads, -1)).transpose(1, 2) for part in (query, key, value))
        on_processor = query.is_cpu and query.dtype is torch.bfloat16 and not torch.is_grad_enabled()
        attend = attend_by_products if on_processor else F.scaled_dot_product_attention
        attended = attend(*by_head).transpose(1, 2).flatten(2)
        return attention.to_out[1](attention.to_out[0](attended))  # the second is a dropout


def attend_by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of query (N, H, T, D) to key and value (N, H, S, D) -> (N, H, T, D), a few heads at a time.

    torch's fused kernel for processors takes 1.2 to 3.2 times as long in bfloat16 (one core of an AMD EPYC with
    AVX512-BF16, torch 2.14, the sizes of the built-in and of the published U-Net).
    """
    batch, heads, tokens, dim = query.shape
    query, key, value = (part.reshape(batch * heads, -1, dim) for part in (query, key, value))
    at_once = max(1, MOST_PRODUCTS // (tokens * key.shape[1]))
    short = key.shape[1] < 128  # rows that the softmax for bfloat16 is slow for
    scale, nothing = dim**-0.5, query.new_empty(1, 1, 1)
    results = []
    for q, k, v in zip(*(part.split(at_once) for part in (query, key, value)), strict=True):
        scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=scale)
        weights = scores.softmax(dim=-1, dtype=torch.float32 if short else None).to(v.dtype)
        results.append(weights @ v)
    attended = results[0] if len(results) == 1 else torch.cat(results)
    return attended.unflatten(0, (batch, heads))


def feed_forward(layer: FeedForward, hidden: Tensor) -> Tensor:
    """``layer(hidden)`` for hidden (N, T, C), equal up to rounding, a few of the N at a time.

    Not where a backward pass keeps everything anyway, and not on a CPU, whose results stay the same to the last bit.
    """
    count = max(1, MOST_WIDENED // (WIDENING * hidden[0].numel()))
    if hidden.is_cpu or torch.is_grad_enabled() or len(hidden) <= count:
        return layer(hidden)
    return torch.cat([layer(piece) for piece in hidden.split(count)])


def attend_in_pieces(network: nn.Module) -> None:
    """Have all attention layers of ``network`` work in pieces; for devices without a fused kernel, which would keep the
    scores of all pairs of tokens at once: 34 GiB for one window of 512 px. Equal up to rounding."""
    set_attention(network, AttentionInPieces(MOST_SCORES))


class AttentionInPieces:
    """An attention processor for diffusers that keeps the scores below ``most_bytes``: few sequences at a time, and
    where one has too many tokens, few of its queries."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._whole = AttnProcessor2_0()

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (N, T, C) or (N, C, h, w), encoder_hidden_states (N, S, D) -> the shape of hidden_states.

        Masks and embeddings of time are for networks of another kind: ``ValueError``.
        """
        if attention_mask is not None or temb is not None:
            raise ValueError("attention in pieces takes neither a mask nor an embedding of time")
        feature_map = hidden_states.ndim == 4
        tokens = hidden_states.flatten(2).shape[2] if feature_map else hidden_states.shape[1]
        keys = tokens if encoder_hidden_states is None else encoder_hidden_states.shape[1]
        queries = max(1, self._most // (SCORE_BYTES * attention.heads * keys))
        sequences = max(1, queries // tokens)
        results = []
        for start in range(0, len(hidden_states), sequences):
            part = hidden_states[start : start + sequences]
            context = None if encoder_hidden_states is None else encoder_hidden_states[start : start + sequences]
            if feature_map or queries >= tokens:
                results.append(self._whole(attention, part, context))
            else:
                context = part if context is None else context
                pieces = [self._whole(attention, piece, context) for piece in part.split(queries, dim=1)]
                results.append(torch.cat(pieces, dim=1))
        return torch.cat(results)

"""Parts of a transformer that work on a piece of their input at a time, so that what they widen it to stays small.

N sequences · T tokens · C channels
"""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from latentsync.models.attention import set_attention

MOST_WIDENED = 2**26  # numbers in the widened tensor of a feed-forward layer: 128 MiB in half precision
WIDENING = 8  # of a gated feed-forward layer: 4 C, and as many for the gates
MOST_SCORES = 2**28  # bytes of attention scores at once
SCORE_BYTES = 8  # of each: in single precision, before and after the softmax


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

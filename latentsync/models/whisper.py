"""The hidden states of a Whisper encoder (openai-whisper, arXiv 2212.04356), which the U-Net attends to.

B pieces of 30 s · 80 mel bands · 3000 mel frames · 1500 positions at 50 Hz · L taps (blocks + 1) · D width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.model import AudioEncoder, ModelDimensions


class WhisperTaps(nn.Module):
    """Whisper's audio encoder, read after its stem and after each of its blocks.

    State-dict names are those of an OpenAI file; only the ``encoder.`` part exists here.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        self.n_taps = dims.n_audio_layer + 1  # L
        self.width = dims.n_audio_state  # D

    def forward(self, mel: Tensor) -> Tensor:
        """Normalised log-mel (B, 80, 3000) -> (B, 1500, L, D), without the encoder's final layer norm.

        The mel's dtype is the precision of the activations. Raises ``ValueError`` for another length than 30 s.
        """
        encoder = self.encoder
        n_positions = encoder.positional_embedding.shape[0]
        if mel.shape[-1] != 2 * n_positions:
            raise ValueError(f"a piece of {mel.shape[-1]} mel frames; the encoder takes {2 * n_positions}")
        # The encoder's own forward keeps only its last state, and hooks on a shared module are not safe across threads.
        stem = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).transpose(1, 2)
        taps = [(stem + encoder.positional_embedding).to(mel.dtype)]
        for block in encoder.blocks:
            taps.append(block(taps[-1]))
        return torch.stack(taps, dim=2)

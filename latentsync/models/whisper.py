"""The hidden states of a Whisper encoder (openai-whisper), which the U-Net attends to.

B pieces of 30 s · 80 mel bands · 3000 mel frames · 1500 positions at 50 Hz · L taps (blocks + 1) · D width
"""

from __future__ import annotations

from torch import Tensor, nn


class WhisperTaps(nn.Module):
    """Whisper's audio encoder, read after its stem and after each block."""

    def __init__(
        self, n_mels: int, n_audio_ctx: int, n_audio_state: int, n_audio_head: int, n_audio_layer: int
    ) -> None:
        super().__init__()

    @property
    def n_taps(self) -> int:
        """L"""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """D"""
        raise NotImplementedError

    def forward(self, mel: Tensor) -> Tensor:
        """Normalised log-mel (B, 80, 3000) -> hidden states (B, 1500, L, D), without the final layer norm."""
        raise NotImplementedError

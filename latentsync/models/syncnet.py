"""StableSyncNet: how well a mouth and a sound fit, as the cosine of two embeddings (arXiv 2412.09262, section 3.3).

N clips · C channels (frames folded in: F*3 pixels or F*4 latents) · 80 mel bands · M mel frames · E embedding width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """One of the two towers. The tuples have one entry per residual block."""

    in_channels: int
    block_out_channels: tuple[int, ...]
    downsample_factors: tuple[tuple[int, int], ...]  # height, width; (1, 1) = none
    attn_blocks: tuple[bool, ...]  # whether an attention block follows the residual block
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class SyncNetConfig:
    """The architecture of a sync network; travels inside its checkpoint."""

    audio_encoder: TowerConfig
    visual_encoder: TowerConfig

    @classmethod
    def from_dict(cls, model: Mapping[str, Any]) -> SyncNetConfig:
        """Read the ``model:`` block of a published sync-network configuration file; raises ``ConfigError``."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The ``model:`` block; ``from_dict`` gives the same configuration back."""
        raise NotImplementedError


class StableSyncNet(nn.Module):
    """Two towers, one for the picture and one for the sound."""

    def __init__(self, config: SyncNetConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, visual: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """visual (N, C, H, W), mel (N, 1, 80, M) -> (visual_embedding (N, E), audio_embedding (N, E)), unit length."""
        raise NotImplementedError


def select_visual_input(pixels: Tensor) -> Tensor:
    """Fold aligned faces (B, F, 3, R, R) in [-1, 1] into the pixel sync network's input (B, F*3, 128, 256)."""
    raise NotImplementedError

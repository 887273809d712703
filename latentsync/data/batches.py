"""Batches of the training, with where their samples come from.

B clips · F frames · C latent channels · H, R frame and face sides in pixels · h = w = R/8 · S audio tokens per frame ·
D their width · M mel frames
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ClipFault:
    """A clip that cannot be used, and why; ``clip_id`` is its content hash, empty if the file could not be read."""

    path: str
    reason: str
    clip_id: str = ""


@dataclass(frozen=True, slots=True)
class SampleOrigin:
    """Where a training sample comes from, so that the report of a bad step can name its data.

    ``faults`` are the clips that were chosen before this one and could not be used.
    """

    clip_id: str
    path: str
    start_frame: int
    faults: tuple[ClipFault, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """Frames and audio that belong together (label 1) or not (label 0).

    ``frames`` (B, F, 3, H, R) uint8 RGB, H = R or the lower half R/2, or (B, F, 2, C, h, w) float32, mean and standard
    deviation of the latents; ``mel`` (B, 1, 80, M) float32 in [-4, 4];
    ``labels`` (B,) float32. ``origins`` name the clip and the first frame; ``step`` is the training step.
    """

    frames: Tensor
    mel: Tensor
    labels: Tensor
    origins: tuple[SampleOrigin, ...]
    step: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SyncBatch:
        """The same batch with its tensors on ``device``."""
        frames, mel, labels = (x.to(device, non_blocking=non_blocking) for x in (self.frames, self.mel, self.labels))
        return SyncBatch(frames, mel, labels, self.origins, self.step)


@dataclass(frozen=True, slots=True)
class UNetBatch:
    """What one training step of the U-Net sees.

    ``target``, ``masked`` and ``reference`` (B, F, 3, R, R) float32 in [-1, 1]; ``keep_mask`` (1, R, R), 1 = keep;
    ``audio`` (B, F, S, D) float32; ``mel`` (B, 1, 80, M) float32 in [-4, 4], None without a sync loss.
    """

    target: Tensor
    masked: Tensor
    reference: Tensor
    keep_mask: Tensor
    audio: Tensor
    mel: Tensor | None
    origins: tuple[SampleOrigin, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> UNetBatch:
        """The same batch with its tensors on ``device``."""
        mel = None if self.mel is None else self.mel.to(device, non_blocking=non_blocking)
        target, masked, reference, keep_mask, audio = (
            x.to(device, non_blocking=non_blocking)
            for x in (self.target, self.masked, self.reference, self.keep_mask, self.audio)
        )
        return UNetBatch(target, masked, reference, keep_mask, audio, mel, self.origins)

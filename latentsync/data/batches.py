"""Batches of the training, with where their samples come from.

B clips · F frames · C latent channels · H, R frame and face sides in pixels · h = w = R/8 · S audio tokens per frame ·
D their width · M mel frames
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TensorBatch:
    """A batch, a frozen dataclass, whose tensors move together; a field may be a batch itself."""

    __slots__ = ()

    def to(self, device: torch.device | str, non_blocking: bool | None = None) -> Self:
        """The same batch with its tensors on ``device``. The host does not wait for what a CUDA device fetches out of
        pinned memory, unless ``non_blocking`` is false."""
        if non_blocking is None:
            non_blocking = str(device).startswith("cuda")
        return self._with(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in memory that a GPU can fetch by itself. torch's ``DataLoader`` calls this."""
        return self._with(lambda part: part.pin_memory())

    def _with(self, change: Callable[[Any], Any]) -> Self:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        moved = {name: change(part) for name, part in parts.items() if hasattr(part, "pin_memory")}
        return replace(self, **moved)  # type: ignore[type-var]


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
class SyncBatch(TensorBatch):
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


@dataclass(frozen=True, slots=True)
class UNetBatch(TensorBatch):
    """What one training step of the U-Net sees.

    ``target`` and ``reference`` (B, F, 3, R, R) uint8 RGB; ``keep_mask`` (1, R, R) float32, 1 = keep;
    ``audio`` (B, F, S, D) float32; ``mel`` (B, 1, 80, M) float32 in [-4, 4], None without a sync loss; ``mouth_seen``
    (B,) float32, 0 where something comes before the mouth, None where nothing does.
    """

    target: Tensor
    reference: Tensor
    keep_mask: Tensor
    audio: Tensor
    mel: Tensor | None
    origins: tuple[SampleOrigin, ...]
    mouth_seen: Tensor | None = None

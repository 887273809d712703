"""Single frames of clips, for training an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentsync.data.clip_dataset import BadClip, ClipDataset, SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.types import ClipFault, SampleOrigin


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """``pictures`` (N, 3, R, R) uint8 RGB, and where they come from."""

    pictures: Tensor
    origins: tuple[SampleOrigin, ...]

    def to(self, device: torch.device) -> ImageBatch:
        """The same batch with its tensor on ``device``."""
        return replace(self, pictures=self.pictures.to(device))


class ImageDataset(ClipDataset[tuple[Tensor, SampleOrigin]]):
    """A random frame of each clip, ``resolution`` pixels wide."""

    def __init__(self, clips: Sequence[Clip], frames: FrameReader, resolution: int, seed: int) -> None:
        super().__init__(clips, seed)
        self._read = frames
        self._resolution = resolution

    def collate(self, samples: Sequence[tuple[Tensor, SampleOrigin]]) -> ImageBatch:
        """Stack samples into a batch."""
        pictures, origins = zip(*samples, strict=True)
        return ImageBatch(torch.stack(pictures), origins)

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> tuple[Tensor, SampleOrigin]:
        frame = int(rng.integers(clip.frames))
        try:
            picture = fit_frames(self._read(clip, frame, 1), self._resolution)[0]
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return picture, SampleOrigin(clip.content, str(clip.path), frame, faults)

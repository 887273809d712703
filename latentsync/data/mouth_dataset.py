"""Windows of synthetic talkers with the true shape of the mouth in every frame, for training a video encoder.

B clips · F frames · R face side
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentsync.data.clip_dataset import BadClip, ClipDataset, SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.manifest import Clip
from latentsync.data.talker_crops import true_mouth
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.types import ClipFault, SampleOrigin


@dataclass(frozen=True, slots=True)
class MouthBatch:
    """``pictures`` (B, F, 3, R, R) uint8 RGB; ``mouth`` (B, F, 6) float32, see ``talker_crops.true_mouth``."""

    pictures: Tensor
    mouth: Tensor
    origins: tuple[SampleOrigin, ...]

    def to(self, device: torch.device) -> MouthBatch:
        """The same batch with its tensors on ``device``."""
        return replace(self, pictures=self.pictures.to(device), mouth=self.mouth.to(device))


class MouthDataset(ClipDataset[tuple[Tensor, Tensor, SampleOrigin]]):
    """``num_frames`` frames of each clip from a random start on, ``resolution`` pixels wide."""

    def __init__(self, clips: Sequence[Clip], frames: FrameReader, num_frames: int, resolution: int, seed: int) -> None:
        super().__init__(clips, seed)
        self._read = frames
        self._num_frames = num_frames
        self._resolution = resolution

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, Tensor, SampleOrigin]]) -> MouthBatch:
        """Stack samples into a batch."""
        pictures, mouth, origins = zip(*samples, strict=True)
        return MouthBatch(torch.stack(pictures), torch.stack(mouth), origins)

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> tuple[Tensor, Tensor, SampleOrigin]:
        if clip.frames < self._num_frames:
            raise BadClip(clip, f"too short: {clip.frames} frames where {self._num_frames} are needed")
        start = int(rng.integers(clip.frames - self._num_frames + 1))
        try:
            pictures = fit_frames(self._read(clip, start, self._num_frames), self._resolution)
            mouth = true_mouth(clip)[start : start + self._num_frames]
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return pictures, torch.from_numpy(mouth), SampleOrigin(clip.content, str(clip.path), start, faults)

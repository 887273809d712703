"""Frames of clips for the built-in networks: single ones for an autoencoder, windows of them for a video encoder.

B clips · F frames · R face side
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentsync.data.batches import ClipFault, SampleOrigin, TensorBatch
from latentsync.data.clip_dataset import BadClip, ClipDataset, SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.manifest import Clip
from latentsync.data.talker_crops import true_mouth
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames


@dataclass(frozen=True, slots=True)
class ImageBatch(TensorBatch):
    """``images`` (N, 3, R, R) uint8 RGB, and where they come from."""

    images: Tensor
    origins: tuple[SampleOrigin, ...]


class ImageDataset(ClipDataset[tuple[Tensor, SampleOrigin]]):
    """A random frame of each clip, ``resolution`` pixels wide."""

    def __init__(self, clips: Sequence[Clip], frames: FrameReader, resolution: int, seed: int) -> None:
        super().__init__(clips, seed)
        self._read = frames
        self._resolution = resolution

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, SampleOrigin]]) -> ImageBatch:
        """Stack samples into a batch."""
        images, origins = zip(*samples, strict=True)
        return ImageBatch(torch.stack(images), origins)

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> tuple[Tensor, SampleOrigin]:
        frame = int(rng.integers(clip.frames))
        try:
            image = fit_frames(self._read(clip, frame, 1), self._resolution)[0]
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return image, SampleOrigin(clip.content, str(clip.path), frame, faults)


@dataclass(frozen=True, slots=True)
class MouthBatch(TensorBatch):
    """``images`` (B, F, 3, R, R) uint8 RGB; ``mouth`` (B, F, 6) float32, see ``talker_crops.true_mouth``."""

    images: Tensor
    mouth: Tensor
    origins: tuple[SampleOrigin, ...]


class MouthDataset(ClipDataset[tuple[Tensor, Tensor, SampleOrigin]]):
    """Windows of synthetic talkers with the true shape of the mouth in every frame.

    ``num_frames`` frames of each clip from a random start on, ``resolution`` pixels wide.
    """

    def __init__(self, clips: Sequence[Clip], frames: FrameReader, num_frames: int, resolution: int, seed: int) -> None:
        super().__init__(clips, seed)
        self._read = frames
        self._num_frames = num_frames
        self._resolution = resolution

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, Tensor, SampleOrigin]]) -> MouthBatch:
        """Stack samples into a batch."""
        images, mouth, origins = zip(*samples, strict=True)
        return MouthBatch(torch.stack(images), torch.stack(mouth), origins)

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> tuple[Tensor, Tensor, SampleOrigin]:
        if clip.frames < self._num_frames:
            raise BadClip(clip, f"too short: {clip.frames} frames where {self._num_frames} are needed")
        start = int(rng.integers(clip.frames - self._num_frames + 1))
        try:
            images = fit_frames(self._read(clip, start, self._num_frames), self._resolution)
            mouth = true_mouth(clip)[start : start + self._num_frames]
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return images, torch.from_numpy(mouth), SampleOrigin(clip.content, str(clip.path), start, faults)

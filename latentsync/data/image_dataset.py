"""Frames of clips for the built-in networks: single ones, and photographs, for an autoencoder, windows of them for a
video encoder.

B clips · F frames · R face side
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from latentsync.data.batches import ClipFault, SampleOrigin, TensorBatch
from latentsync.data.clip_dataset import BadClip, ClipDataset, SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.face_augmentation import UNCHANGED, FaceAugmentation, Variation
from latentsync.data.manifest import Clip
from latentsync.data.still_faces import StillFace
from latentsync.data.talker_crops import true_mouth
from latentsync.errors import DataError
from latentsync.face.align import FaceAligner
from latentsync.face.resample import fit_frames


@dataclass(frozen=True, slots=True)
class ImageBatch(TensorBatch):
    """``images`` (N, 3, R, R) uint8 RGB, and where they come from; ``step`` is the training step."""

    images: Tensor
    origins: tuple[SampleOrigin, ...]
    step: int = 0


@dataclass(frozen=True, slots=True)
class ImageSample:
    """``image`` (3, R, R) uint8 RGB."""

    image: Tensor
    origin: SampleOrigin
    step: int


class ImageDataset(ClipDataset[ImageSample]):
    """A random frame of each clip, ``resolution`` pixels wide; ``variation`` of it, if one is given."""

    def __init__(
        self,
        clips: Sequence[Clip],
        frames: FrameReader,
        resolution: int,
        seed: int,
        variation: Variation = UNCHANGED,
    ) -> None:
        super().__init__(clips, seed)
        self._read = frames
        self._resolution = resolution
        self._augment = None if variation == UNCHANGED else FaceAugmentation(resolution, variation)

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> ImageSample:
        frame = int(rng.integers(clip.frames))
        try:
            image = fit_frames(self._read(clip, frame, 1), self._resolution)[0]
        except DataError as error:
            raise BadClip(clip, error.message) from error
        if self._augment is not None:
            image = torch.from_numpy(self._augment(image.permute(1, 2, 0).numpy(), np.eye(2, 3), rng))
        return ImageSample(image, SampleOrigin(clip.content, str(clip.path), frame, faults), key.step)


class StillDataset(Dataset[ImageSample]):
    """A random face of each file, aligned at ``resolution`` pixels, under another light and pose every time."""

    def __init__(self, stills: Sequence[StillFace], resolution: int, seed: int, variation: Variation) -> None:
        self._files: dict[str, list[StillFace]] = {}
        for still in stills:
            self._files.setdefault(still.content, []).append(still)
        self._contents = tuple(self._files)
        self._aligner = FaceAligner(resolution)
        self._augment = FaceAugmentation(resolution, variation)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, key: SampleKey) -> ImageSample:
        rng = np.random.default_rng([self._seed, key.epoch, key.index])
        faces = self._files[self._contents[key.index % len(self)]]
        still = faces[int(rng.integers(len(faces)))]
        image = torch.from_numpy(self._augment(still.pixels, self._aligner.matrix(still.landmarks), rng))
        return ImageSample(image, SampleOrigin(still.content, str(still.path), still.frame), key.step)


def collate_images(samples: Sequence[ImageSample]) -> ImageBatch:
    """Stack samples into a batch."""
    return ImageBatch(
        torch.stack([sample.image for sample in samples]),
        tuple(sample.origin for sample in samples),
        max(sample.step for sample in samples),
    )


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

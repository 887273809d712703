"""Pairs of frames and audio that fit or do not, for training and scoring sync networks (arXiv 2412.09262, section 3.3).

F frames · R face side · H = R, or R/2 for the lower half · M mel frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.audio.mel import mel_window
from latentsync.constants import AUDIO_RATE, SYNCNET_MEL_HOP
from latentsync.data.batches import ClipFault, SampleOrigin, SyncBatch
from latentsync.data.clip_dataset import BadClip, ClipDataset, SampleKey
from latentsync.data.clip_reader import FrameReader, MelReader
from latentsync.data.manifest import Clip
from latentsync.data.negatives import NegativeRule, shifted_start, spread_starts
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.types import SyncView


@dataclass(frozen=True, slots=True)
class SyncSample:
    """W windows of frames, ``frames`` (W, F, 3, H, R) uint8, with the audio of each, ``mel`` (W, 1, 80, M) float32."""

    frames: Tensor
    mel: Tensor
    labels: tuple[float, ...]  # 1.0 = fits
    origins: tuple[SampleOrigin, ...]
    step: int  # of the training


class SyncNetDataset(ClipDataset[SyncSample]):
    """One window of a clip, whose audio fits in half of the samples; every clip changes sides from visit to visit.

    If the rule asks for several windows per clip, all of them come with the audio that fits: that of the others is
    then their negatives (``training.syncnet.objective.all_pairs_loss``).

    ``shuffled_audio`` is the control experiment: all audio comes from a random place of another clip, whatever the
    label says, so nothing can be learnt. ``color_jitter`` is the strength of ``jitter_colors``, drawn for every window;
    0 leaves the frames as they are.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        view: SyncView,
        frames: FrameReader,
        mels: MelReader,
        negatives: NegativeRule,
        seed: int,
        *,
        shuffled_audio: bool = False,
        color_jitter: float = 0.0,
    ) -> None:
        super().__init__(clips, seed)
        self.view = view
        self._read_frames = frames
        self._mels = mels
        self._negatives = negatives
        self._shuffled_audio = shuffled_audio
        self._color_jitter = color_jitter

    @staticmethod
    def min_frames(view: SyncView, negatives: NegativeRule) -> int:
        """Frames that a clip needs: two windows as published, and room for the negatives."""
        return max(2 * view.num_frames, view.num_frames + negatives.min_starts())

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> SyncSample:
        mel = self._mel(clip)
        n_starts = self._n_starts(clip, mel)
        rule, distance = self._negatives, self._negatives.distance(key.step)
        starts = spread_starts(rng, n_starts, rule.windows_per_clip, distance)
        fits = rule.windows_per_clip > 1 or (key.index % len(self) + key.index // len(self) + key.epoch) % 2 == 1
        audio = [(mel, start if fits else shifted_start(rng, start, n_starts, distance)) for start in starts]
        from_other = self._shuffled_audio or (not fits and rng.random() < rule.other_clip_share)
        if from_other and len(self) > 1:
            audio = [self._other_audio(clip, rng) for _ in starts]
        windows = [mel_window(*place, self.view.num_frames, self.view.fps) for place in audio]
        return SyncSample(
            frames=torch.stack([self._lit(self.faces(clip, start), rng) for start in starts]),
            mel=torch.from_numpy(np.stack(windows))[:, None],
            labels=(float(fits),) * len(starts),
            origins=tuple(SampleOrigin(clip.content, str(clip.path), start, faults) for start in starts),
            step=key.step,
        )

    def _lit(self, faces: Tensor, rng: np.random.Generator) -> Tensor:
        return jitter_colors(faces, rng, self._color_jitter) if self._color_jitter else faces

    def _other_audio(self, clip: Clip, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Mel of some other clip and a random start in it."""
        place = int(rng.integers(len(self) - 1))
        other = self.clips[place] if self.clips[place].content != clip.content else self.clips[-1]
        mel = self._mel(other)
        return mel, int(rng.integers(self._n_starts(other, mel)))

    def _n_starts(self, clip: Clip, mel: np.ndarray) -> int:
        """Windows that lie wholly inside frames and audio."""
        audio_frames = (mel.shape[1] - 1) * SYNCNET_MEL_HOP * self.view.fps / AUDIO_RATE
        usable = min(clip.frames, int(audio_frames))
        needed = self.min_frames(self.view, self._negatives)
        if usable < needed:
            raise BadClip(clip, f"too short: {usable} frames with sound where {needed} are needed")
        return usable - self.view.num_frames + 1

    def _mel(self, clip: Clip) -> np.ndarray:
        try:
            return self._mels(clip)
        except DataError as error:
            raise BadClip(clip, error.message) from error

    def faces(self, clip: Clip, start: int) -> Tensor:
        """(F, 3, H, R) uint8 from frame ``start`` on. Raises ``BadClip``."""
        try:
            frames = fit_frames(self._read_frames(clip, start, self.view.num_frames), self.view.resolution)
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return frames[:, :, self.view.resolution // 2 :] if self.view.cuts_pixels else frames


def collate_sync(samples: Sequence[SyncSample]) -> SyncBatch:
    """The windows of all samples as one batch."""
    return SyncBatch(
        frames=torch.cat([sample.frames for sample in samples]),
        mel=torch.cat([sample.mel for sample in samples]),
        labels=torch.tensor([label for sample in samples for label in sample.labels]),
        origins=tuple(origin for sample in samples for origin in sample.origins),
        step=max(sample.step for sample in samples),
    )


def jitter_colors(frames: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Frames (F, 3, H, W) uint8 RGB under another light, the same for all F: (F, 3, H, W) uint8.

    Every value v in [0, 1] becomes ``gain * v ** gamma``, cut at 1. Logarithms are normally distributed around 0: of
    ``gamma`` with standard deviation ``strength``; of ``gain`` with ``strength`` too, plus half as much by channel.

    A table for each channel takes a quarter of the time of torchvision's ``adjust_gamma``, to which it is equal to one
    level.
    """
    gamma = np.exp(strength * rng.standard_normal())
    gain = np.exp(strength * (rng.standard_normal() + 0.5 * rng.standard_normal(3)))
    values = gain[:, None] * (np.arange(256) / 255) ** gamma
    tables = (values.clip(0, 1) * 255).round().astype(np.uint8)
    result = np.empty(frames.shape, np.uint8)
    for channel, table in enumerate(tables):
        plane = frames[:, channel].contiguous().numpy()
        result[:, channel] = cv2.LUT(plane.reshape(len(plane), -1), table).reshape(plane.shape)
    return torch.from_numpy(result)

"""Windows of a clip with their audio and a reference window, for training the U-Net (arXiv 2412.09262, section 3.1).

F frames · R face side · S audio tokens of width D per frame · M mel frames
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.mel import mel_window
from latentsync.constants import MODEL_FPS, WINDOW_FRAMES
from latentsync.data.batches import ClipFault, SampleOrigin, UNetBatch
from latentsync.data.clip_dataset import BadClip, ClipDataset, Sample, SampleKey
from latentsync.data.clip_reader import MelReader, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.data.negatives import shifted_start
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.types import AudioFeatures

# Frames between the starts of a window and its reference, also where windows are shorter than the published ones: a
# mouth of the moment before would tell what the audio is to tell.
REFERENCE_DISTANCE = WINDOW_FRAMES


@dataclass(frozen=True, slots=True)
class UNetSample:
    """One window: ``target``, ``reference`` (F, 3, R, R) uint8 RGB, ``audio`` (F, S, D) float32, ``mel`` (1, 80, M)
    float32 or None; ``mouth_seen``: nothing comes before the mouth in the target."""

    target: Tensor
    reference: Tensor
    audio: Tensor
    mel: Tensor | None
    origin: SampleOrigin
    mouth_seen: bool


@dataclass(frozen=True, slots=True)
class WindowChoice:
    """Which frames of a clip a sample shows, and their audio: fields as in ``UNetSample``. ``steady``: the reference is
    the one frame ``reference_start`` over and over, as in a dub with the first face of the shot for reference."""

    start: int
    reference_start: int
    steady: bool
    audio: Tensor
    mel: Tensor | None


class WindowDataset(ClipDataset[Sample]):
    """Two windows of a clip: one at a random start, and a reference at least ``REFERENCE_DISTANCE`` from it. What a
    sample has of them is the subclass's business.

    ``clips`` are face crops. ``keep_mask`` (1, R, R) float32, 1 = keep.
    ``features`` gives a clip's audio features; ``mels`` is None where no sync network takes part. ``steady_share``: of
    the samples, see ``WindowChoice.steady``.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        keep_mask: np.ndarray,
        features: Callable[[Clip], AudioFeatures],
        mels: MelReader | None,
        seed: int,
        num_frames: int = WINDOW_FRAMES,
        steady_share: float = 0.0,
    ) -> None:
        super().__init__(clips, seed)
        self._steady_share = steady_share
        self.keep_mask = torch.from_numpy(np.asarray(keep_mask, dtype=np.float32))
        self._features = features
        self._mels = mels
        self.num_frames = num_frames

    @staticmethod
    def min_frames(num_frames: int) -> int:
        """Frames that a clip needs: whatever the target's start, a reference window lies beside it."""
        return 2 * max(num_frames, REFERENCE_DISTANCE) + num_frames

    def choose(self, clip: Clip, rng: np.random.Generator) -> WindowChoice:
        """Draw two windows of a clip. Raises ``DataError`` if its audio cannot be read or it is too short."""
        features = self._features(clip)
        mel = None if self._mels is None else self._mels(clip)
        n_starts = self._n_starts(clip, features)
        start = int(rng.integers(n_starts))
        reference_start = shifted_start(rng, start, n_starts, max(self.num_frames, REFERENCE_DISTANCE))
        times = [Fraction(start + k) / MODEL_FPS for k in range(self.num_frames)]
        return WindowChoice(
            start,
            reference_start,
            steady=bool(self._steady_share) and rng.random() < self._steady_share,
            audio=torch.from_numpy(np.stack([features.window(time) for time in times])),
            mel=None if mel is None else torch.from_numpy(mel_window(mel, start, self.num_frames).copy())[None],
        )

    def faces(self, clip: Clip, start: int) -> Tensor:
        """The window at ``start``, (F, 3, R, R) uint8 RGB. Raises ``DataError`` if it cannot be decoded."""
        return self._frames(clip, start, self.num_frames)

    def reference_faces(self, clip: Clip, choice: WindowChoice) -> Tensor:
        """The reference, in the same shape. Raises as ``faces``."""
        if choice.steady:
            return self._frames(clip, choice.reference_start, 1).expand(self.num_frames, -1, -1, -1)
        return self.faces(clip, choice.reference_start)

    def _frames(self, clip: Clip, start: int, count: int) -> Tensor:
        return fit_frames(read_clip_frames(clip, start, count), self.keep_mask.shape[-1])

    @staticmethod
    def stack_seen(seen: Sequence[bool]) -> Tensor | None:
        """The ``mouth_seen`` of a batch."""
        return None if all(seen) else torch.tensor(seen, dtype=torch.float32)

    def _n_starts(self, clip: Clip, features: AudioFeatures) -> int:
        """Windows that lie wholly inside frames and audio."""
        usable, needed = min(clip.frames, int(features.duration * MODEL_FPS)), self.min_frames(self.num_frames)
        if usable < needed:
            raise DataError(f"too short: {usable} frames with sound where {needed} are needed")
        return usable - self.num_frames + 1


class UNetDataset(WindowDataset[UNetSample]):
    """Ground truth and reference as bytes; the device masks them."""

    def collate(self, samples: Sequence[UNetSample]) -> UNetBatch:
        """Stack samples into a batch."""
        columns = {
            name: torch.stack([getattr(sample, name) for sample in samples])
            for name in ("target", "reference", "audio")
        }
        mels = [sample.mel for sample in samples if sample.mel is not None]
        mel = torch.stack(mels) if mels else None
        return UNetBatch(
            **columns,
            mel=mel,
            keep_mask=self.keep_mask,
            origins=tuple(sample.origin for sample in samples),
            mouth_seen=self.stack_seen([sample.mouth_seen for sample in samples]),
        )

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> UNetSample:
        try:
            choice = self.choose(clip, rng)
            target, reference = self.faces(clip, choice.start), self.reference_faces(clip, choice)
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return UNetSample(
            target=target,
            reference=reference,
            audio=choice.audio,
            mel=choice.mel,
            origin=SampleOrigin(clip.content, str(clip.path), choice.start, faults),
            mouth_seen=clip.shows_mouth(choice.start, self.num_frames),
        )

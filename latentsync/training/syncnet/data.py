"""The clips and pair sets that a sync network's configuration asks for.

W windows of a sample · F frames of a window · C latent channels · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentsync.data.clip_dataset import BadClip
from latentsync.data.clip_reader import MEL_VERSION, ArrayCache, FrameReader, MelReader
from latentsync.data.manifest import Clip
from latentsync.data.negatives import NegativeRule
from latentsync.data.syncnet_dataset import SyncNetDataset
from latentsync.errors import ConfigError, DataError
from latentsync.recipe import SyncNetData
from latentsync.training.latent_cache import LatentCache
from latentsync.training.loop import clips as loop_clips
from latentsync.training.loop.clips import RunClips
from latentsync.types import SyncView


def negatives_of(data: SyncNetData) -> NegativeRule:
    """The rule of the configuration. Raises ``ConfigError`` if it contradicts itself."""
    rule = data.negatives
    try:
        return NegativeRule(
            rule.min_distance, rule.far_distance, rule.curriculum_steps, rule.other_clip_share, rule.windows_per_clip
        )
    except ValueError as error:
        raise ConfigError(f"data.negatives: {error}.", remedy="See docs/train_syncnet.md.") from error


class LatentPairs(SyncNetDataset):
    """The samples of ``SyncNetDataset`` with ``frames`` (W, F, 2, C, h, w) float32: mean and standard deviation of the
    latents of whole faces, out of ``cache``."""

    def __init__(
        self,
        cache: LatentCache,
        clips: Sequence[Clip],
        view: SyncView,
        frames: FrameReader,
        mels: MelReader,
        negatives: NegativeRule,
        seed: int,
        *,
        shuffled_audio: bool = False,
    ) -> None:
        super().__init__(clips, view, frames, mels, negatives, seed, shuffled_audio=shuffled_audio)
        self._cache = cache

    def faces(self, clip: Clip, start: int) -> Tensor:
        """(F, 2, C, h, w) float32 from frame ``start`` on. Raises ``BadClip``."""
        try:
            (moments,) = self._cache.read(clip)
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return torch.from_numpy(moments[start : start + self.view.num_frames].astype("float32"))


def find_clips(data: SyncNetData, cache: Path) -> RunClips:
    """See ``loop.clips.find_clips``; without clips of a mouth that is covered for a while, which would fit no audio."""
    return loop_clips.find_clips(data, _min_frames(data), cache).with_free_mouths()


def find_validation_clips(data: SyncNetData, cache: Path) -> RunClips:
    """See ``loop.clips.find_validation_clips``; without covered mouths likewise."""
    return loop_clips.find_validation_clips(data, _min_frames(data), cache).with_free_mouths()


def _min_frames(data: SyncNetData) -> int:
    return SyncNetDataset.min_frames(data.view, negatives_of(data))


def mel_reader(data: SyncNetData, run_folder: Path) -> MelReader:
    """Mel spectrograms with their cache, beside the run if the configuration names no other place."""
    return MelReader(ArrayCache(Path(data.audio_mel_cache_dir or run_folder / "cache") / MEL_VERSION))


def pair_set(
    clips: Sequence[Clip], data: SyncNetData, mels: MelReader, seed: int, latents: LatentCache | None = None
) -> SyncNetDataset:
    """The pairs of some clips to train on; with ``latents`` they come out of that cache."""
    return _pairs(clips, data, mels, seed, negatives_of(data), latents, data.color_jitter)


def fixed_pairs(
    clips: Sequence[Clip], data: SyncNetData, mels: MelReader, seed: int, latents: LatentCache | None = None
) -> SyncNetDataset:
    """The pairs of some clips to score on: negatives as at the end of the curriculum, frames as they are."""
    return _pairs(clips, data, mels, seed, negatives_of(data).final(), latents)


def _pairs(
    clips: Sequence[Clip],
    data: SyncNetData,
    mels: MelReader,
    seed: int,
    negatives: NegativeRule,
    latents: LatentCache | None,
    color_jitter: float = 0.0,
) -> SyncNetDataset:
    frames = FrameReader(keep_bytes=int(data.frame_cache_gib * 2**30))
    common = (clips, data.view, frames, mels, negatives, seed)
    if latents is None:
        return SyncNetDataset(*common, shuffled_audio=data.shuffled_sound, color_jitter=color_jitter)
    return LatentPairs(latents, *common, shuffled_audio=data.shuffled_sound)

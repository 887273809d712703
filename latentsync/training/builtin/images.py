"""What a codec is trained and validated on: single frames of clips and faces of people, each with its share.

N images · R face side
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.face_augmentation import UNCHANGED, Variation
from latentsync.data.image_dataset import ImageDataset, StillDataset, collate_images
from latentsync.data.mixture import Part, SampleSource
from latentsync.data.still_faces import StillFace, find_stills, split_stills
from latentsync.levels import normalize
from latentsync.training.builtin.recipes import CodecData, CodecRecipe
from latentsync.training.loop.clips import RunClips, find_clips
from latentsync.training.loop.run import Run
from latentsync.training.loop.validation import loader_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CodecImages:
    """The two sides, of which no clip and no person is in both."""

    train: SampleSource
    validation: SampleSource

    @classmethod
    def find(cls, recipe: CodecRecipe, run: Run) -> CodecImages:
        """Those that ``recipe.data`` names; what has to be made first is kept in a cache beside the runs.

        Raises ``ConfigError``, and ``DataError`` if there is nothing to train on.
        """
        data, seed = recipe.data, recipe.run.seed
        cache = Path(data.train_output_dir) / "cache"
        clips = run.open_clips(recipe, lambda: find_clips(data, 1, cache))
        trained, held_out = split_stills(_find_stills(data, cache), data.validation_share, Path(data.people or ""))
        reader = FrameReader(int(data.frame_cache_gib * 2**30))
        variation = Variation() if data.augment else UNCHANGED
        return cls(
            _mixed(data, clips, "train", trained, reader, seed, variation),
            _mixed(data, clips, "validation", held_out, reader, seed + 1, UNCHANGED),
        )

    def validation_batches(self, numbers: range, batch_size: int, device: torch.device) -> Iterator[Tensor]:
        """The validation images ``numbers``, the same ones every time: batches (N, 3, R, R) in [-1, 1]."""
        places = len(self.validation)
        keys = [SampleKey(number // places, number % places) for number in numbers]
        for batch in loader_of(self.validation, keys, batch_size, collate_images, device):
            yield normalize(batch.images.to(device))


def _find_stills(data: CodecData, cache: Path) -> list[StillFace]:
    """Raises as ``find_stills``."""
    if data.people is None:
        return []
    stills = find_stills(Path(data.people), Path(data.people_detector), cache, data.frames_per_recording)
    logger.info("people: %d faces of %d files", len(stills), len({still.content for still in stills}))
    return stills


def _mixed(
    data: CodecData,
    clips: RunClips,
    side: Literal["train", "validation"],
    stills: Sequence[StillFace],
    reader: FrameReader,
    seed: int,
    variation: Variation,
) -> SampleSource:
    people = StillDataset(stills, data.resolution, seed, variation) if stills else None
    return clips.samples(
        side,
        lambda some: ImageDataset(some, reader, data.resolution, seed, variation),
        seed,
        share=data.clips_share,
        more={} if people is None else {"people": Part(people, data.people_share)},
    )

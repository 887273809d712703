"""The pairs of a sync network on latents, with every clip encoded once: windows overlap and come again and again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from latentsync.data.clip_dataset import BadClip
from latentsync.data.manifest import Clip
from latentsync.data.syncnet_dataset import SyncNetDataset
from latentsync.errors import DataError
from latentsync.models.codec import LatentCodec
from latentsync.recipe import SyncNetData
from latentsync.training.latents.cache import LatentCache


def latent_cache(data: SyncNetData, folder: Path, codec: LatentCodec | None) -> LatentCache | None:
    """The cache in ``folder`` if the configuration asks for one."""
    return LatentCache(folder, codec, data.resolution) if data.cache_latents else None


class LatentPairs(SyncNetDataset):
    """The samples of ``SyncNetDataset`` with ``frames`` (W, F, 2, C, h, w) float32: mean and standard deviation of the
    latents of whole faces, out of ``cache``."""

    def __init__(self, cache: LatentCache, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._cache = cache

    def faces(self, clip: Clip, start: int) -> Tensor:
        """(F, 2, C, h, w) float32 from frame ``start`` on. Raises ``BadClip``."""
        try:
            (moments,) = self._cache.read(clip)
        except DataError as error:
            raise BadClip(clip, error.message) from error
        return torch.from_numpy(moments[start : start + self.view.num_frames].astype("float32"))

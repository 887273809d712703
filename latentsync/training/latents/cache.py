"""Latents of whole training clips, encoded once: three windows per sample and step are otherwise most of stage 1.

N frames · F frames of a window · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.data.array_cache import ArrayCache
from latentsync.data.clip_dataset import BadClip, SampleKey
from latentsync.data.clip_reader import MelReader, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.data.unet_dataset import UNetDataset, UNetSample
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.levels import normalize
from latentsync.models.codec import LatentCodec
from latentsync.training.latents.batch import PosteriorBatch
from latentsync.types import AudioFeatures, ClipFault, SampleOrigin

_VERSION = "latents-1"  # part of the folder's name: change it when the stored values change
_ENCODED_AT_ONCE = 64  # frames: 200 MB of pixels at 512 px


class LatentCache:
    """Posterior means and deviations of all frames of a clip, once as they are and, if there is a ``keep_mask``
    (1, R, R), once with its hole in grey.

    Kept under ``folder`` by the clip's content, the codec's weights and precision, R, and the mask: nothing stale is
    ever read. The precision is that of the codec, so training sees what it would see without a cache.
    """

    def __init__(self, folder: Path, codec: LatentCodec, resolution: int, keep_mask: Tensor | None = None) -> None:
        name = hashlib.sha256(_VERSION.encode())
        for key, tensor in sorted(codec.state_dict().items()):
            name.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            name.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        if keep_mask is None:
            name.update(str(resolution).encode())
        else:
            name.update(str(tuple(keep_mask.shape)).encode() + keep_mask.numpy().tobytes())
        self._arrays = ArrayCache(folder / f"{_VERSION}-{name.hexdigest()[:16]}", mapped=True)
        self._resolution = resolution
        self._keep_mask = keep_mask

    def fill(self, clip: Clip, codec: LatentCodec) -> None:
        """Encode ``clip`` if that has not been done yet. Raises ``DataError`` if it cannot be decoded."""
        self._arrays.get(clip.content, lambda: self._encode(clip, codec))

    def read(self, clip: Clip) -> np.ndarray:
        """(2, N, 2, C, h, w): as it is and masked; mean and deviation. The first is 1 without a mask. Raises
        ``DataError`` if it was not filled."""

        def absent() -> np.ndarray:
            raise DataError("undecodable: its latents are not in the cache, since it could not be read")

        return self._arrays.get(clip.content, absent)

    @torch.no_grad()
    def _encode(self, clip: Clip, codec: LatentCodec) -> np.ndarray:
        frames = fit_frames(read_clip_frames(clip, 0, clip.frames), self._resolution)
        weight = next(codec.parameters())
        moments = []
        for part in frames.split(_ENCODED_AT_ONCE):
            pixels = normalize(part.to(weight.device))
            views = pixels[None]
            if self._keep_mask is not None:
                views = torch.stack([pixels, pixels * self._keep_mask.to(weight.device)])
            mean, deviation = codec.posterior(views.flatten(0, 1).to(weight.dtype))
            moments.append(torch.stack([mean, deviation], dim=1).unflatten(0, views.shape[:2]).cpu())
        return torch.cat(moments, dim=1).numpy()


class CachedWindows(UNetDataset):
    """The samples of ``UNetDataset``, with latents from a cache; ``pixels``: whether a loss looks at pictures.

    The fields ``target``, ``masked`` and ``reference`` of a sample are (F, 2, 4, h, w); the target's pixels, where they
    are asked for, come beside it.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        keep_mask: np.ndarray,
        features: Callable[[Clip], AudioFeatures],
        mels: MelReader | None,
        seed: int,
        num_frames: int,
        cache: LatentCache,
        pixels: bool,
    ) -> None:
        super().__init__(clips, keep_mask, features, mels, seed, num_frames)
        self._cache = cache
        self._with_pixels = pixels

    def collate(self, samples: Sequence[tuple[UNetSample, Tensor | None]]) -> PosteriorBatch:
        """Stack samples into a batch."""
        windows, pixels = zip(*samples, strict=True)
        columns = {
            name: torch.stack([getattr(window, name) for window in windows])
            for name in ("target", "masked", "reference", "audio")
        }
        return PosteriorBatch(
            **columns,
            pixels=torch.stack(pixels) if self._with_pixels else None,
            mel=None if self._mels is None else torch.stack([window.mel for window in windows]),
            keep_mask=self.keep_mask,
            origins=tuple(window.origin for window in windows),
        )

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> tuple[UNetSample, Tensor | None]:
        try:
            choice = self.choose(clip, rng)
            whole, masked = self._cache.read(clip)
            pixels = self.faces(clip, choice.start) if self._with_pixels else None
        except DataError as error:
            raise BadClip(clip, error.message) from error
        target, reference = (slice(start, start + self.num_frames) for start in (choice.start, choice.reference_start))
        window = UNetSample(
            target=torch.from_numpy(whole[target].astype(np.float32)),
            masked=torch.from_numpy(masked[target].astype(np.float32)),
            reference=torch.from_numpy(whole[reference].astype(np.float32)),
            audio=choice.audio,
            mel=choice.mel,
            origin=SampleOrigin(clip.content, str(clip.path), choice.start, faults),
        )
        return window, pixels

"""Latents of whole training clips, encoded once: windows overlap and come again and again.

Encoding three windows per sample and step is otherwise most of the U-Net's stage 1.

N frames of a clip · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from latentsync.data.clip_reader import ArrayCache, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from latentsync.face.resample import fit_frames
from latentsync.levels import normalize
from latentsync.models.codec import LatentCodec
from latentsync.training.loop.clips import RunClips, fill_cache

_VERSION = "latents-1"  # part of the folder's name: change it when the stored values change
_ENCODED_AT_ONCE = 64  # frames: 200 MB of pixels at 512 px


class LatentCache:
    """Posterior means and standard deviations of all frames of a clip, as they are and, if there is a ``keep_mask``
    (1, R, R), also with its hole in grey.

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

    def load(self, clip: Clip) -> Tensor | None:
        """The frames that are still to be encoded, (N, 3, R, R) uint8 RGB; None if their latents are in the cache.
        Raises ``DataError`` if they cannot be decoded."""
        if self._arrays.find(clip.content) is not None:
            return None
        return fit_frames(read_clip_frames(clip, 0, clip.frames), self._resolution)

    def encode(self, clip: Clip, frames: Tensor, codec: LatentCodec) -> None:
        """Keep the latents of what ``load`` gave."""
        self._arrays.put(clip.content, self._moments(frames, codec))

    def read(self, clip: Clip) -> np.ndarray:
        """(2, N, 2, C, h, w): as it is and masked; mean and standard deviation. The first is 1 without a mask. Raises
        ``DataError`` if it was not encoded."""
        found = self._arrays.find(clip.content)
        if found is None:
            raise DataError("undecodable: its latents are not in the cache, since it could not be read")
        return found

    @torch.no_grad()
    def _moments(self, frames: Tensor, codec: LatentCodec) -> np.ndarray:
        weight = next(codec.parameters())
        moments = []
        for part in frames.split(_ENCODED_AT_ONCE):
            pixels = normalize(part.to(weight.device))
            views = pixels[None]
            if self._keep_mask is not None:
                views = torch.stack([pixels, pixels * self._keep_mask.to(weight.device)])
            mean, std = codec.posterior(views.flatten(0, 1).to(weight.dtype))
            moments.append(torch.stack([mean, std], dim=1).unflatten(0, views.shape[:2]).cpu())
        result = torch.cat(moments, dim=1)
        # NumPy knows no bfloat16. Of its 8 bits float16 keeps all, but for deviations below 6e-5.
        return (result.half() if result.dtype is torch.bfloat16 else result).numpy()


def fill_latents(cache: LatentCache, codec: LatentCodec, clips: RunClips, accelerator: Accelerator) -> None:
    """Encode what ``cache`` lacks of this process's share of the clips; see ``loop.clips.fill_cache``."""
    fill_cache(
        clips, cache.load, lambda clip, frames: cache.encode(clip, frames, codec), "encoding the clips", accelerator
    )

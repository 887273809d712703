"""Latents of images that were encoded before: the way back of a ping-pong and a second audio track encode nothing.

N images · C latent channels · h, w latent cells
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.types import Window

MEMORY_BYTES = 256 * 2**20  # of latents: 5 min of video at 256 px in single precision


@dataclass(frozen=True, slots=True)
class FaceLatents:
    """What makes and keeps the latents of a pipeline's faces, so that they can be known before a run.

    ``encode`` finds those of windows, whose audio does not matter, and leaves them in ``memory``, on ``device`` and in
    ``dtype``. ``signature``: of the codec (``checkpoint.codec.latent_signature``).
    """

    memory: LatentMemory
    encode: Callable[[list[Window]], None]
    device: torch.device
    dtype: torch.dtype
    signature: Callable[[], str]


class LatentMemory:
    """Keeps the latents of images by the images' keys, and forgets the least recently used ones.

    Latents come back as they were computed, to the bit and on the same device. Several threads may use it at once.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[bytes, bytes], Tensor] = OrderedDict()
        self._lock = threading.Lock()  # not held while images are encoded

    def recall(self, images: Sequence[bytes], mask: bytes, encode: Callable[[list[int]], Tensor]) -> Tensor:
        """The keys of N images (``face.align.image_key``) -> latents (N, C, h, w).

        ``encode(numbers)`` is called once, for the positions of the images that are not known, each image once, and
        gives their latents. ``mask``: the key of the mask that it applies, empty if none; latents under another mask
        are others.
        """
        keys = [(image, mask) for image in images]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        first = {key: number for number, key in reversed(list(enumerate(keys))) if key not in found}
        if first:
            new = sorted(first.items(), key=lambda item: item[1])
            latents = encode([number for _, number in new])
            found |= {key: each.clone() for (key, _), each in zip(new, latents, strict=True)}
        with self._lock:
            for key in keys:
                self._keep(key, found[key])
        return torch.stack([found[key] for key in keys])

    def kept(self, images: Iterable[bytes], mask: bytes) -> dict[bytes, Tensor]:
        """Key -> latents (C, h, w) of those of the images that are known."""
        with self._lock:
            return {image: self._kept[image, mask] for image in images if (image, mask) in self._kept}

    def add(self, latents: Mapping[bytes, Tensor], mask: bytes) -> None:
        """Take in what ``kept`` gave, on the device where it is to be used."""
        with self._lock:
            for image, each in latents.items():
                self._keep((image, mask), each)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _keep(self, key: tuple[bytes, bytes], latents: Tensor) -> None:
        if key not in self._kept:
            self._bytes += latents.nbytes
        self._kept[key] = latents
        self._kept.move_to_end(key)
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

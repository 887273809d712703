"""Latents of pictures that were encoded before: the way back of a ping-pong, and a second sound on the same video.

N pictures · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

LIMIT_BYTES = 256 * 2**20  # 5 min of video at 256 px in single precision


class LatentMemory:
    """Keeps latents by the content of what they were made of, and forgets those that were not asked for longest.

    What is found is what was computed, to the bit, on the device where it was computed. Several threads may ask at
    once.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # not held while pictures are encoded

    def recall(self, pictures: np.ndarray, circumstances: bytes, encode: Callable[[np.ndarray], Tensor]) -> Tensor:
        """pictures (N, ...) -> latents (N, C, h, w); ``encode`` is called once, for those that are not known.

        ``circumstances``: whatever else the latents depend on.
        """
        keys = [blake2b(picture.tobytes() + circumstances, digest_size=20).digest() for picture in pictures]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        first = {key: number for number, key in reversed(list(enumerate(keys))) if key not in found}
        if first:
            new = sorted(first.items(), key=lambda item: item[1])
            latents = encode(pictures[[number for _, number in new]])
            found |= {key: each.clone() for (key, _), each in zip(new, latents, strict=True)}
        with self._lock:
            for key in keys:
                self._keep(key, found[key])
        return torch.stack([found[key] for key in keys])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _keep(self, key: bytes, latents: Tensor) -> None:
        if key not in self._kept:
            self._bytes += latents.nbytes
        self._kept[key] = latents
        self._kept.move_to_end(key)
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

"""The latent diffusion model as a ``WindowGenerator``: windows of faces and audio in, windows of faces out.

n windows · F frames · N images · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from latentsync.constants import LATENT_DOWNSCALE, exact_div
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import shared_noise
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.types import Window

MEMORY_BYTES = 256 * 2**20  # of latents: 5 min of video at 256 px in single precision


class LatentMemory:
    """Keeps the latents of images by the content of the images, and forgets the least recently used ones.

    So the way back of a ping-pong and a second audio track for the same video encode nothing. Latents come back as they
    were computed, to the bit and on the same device. Several threads may use it at once.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # not held while images are encoded

    def recall(self, images: np.ndarray, mask: bytes, encode: Callable[[np.ndarray], Tensor]) -> Tensor:
        """Images (N, 3, R, R) -> latents (N, C, h, w); ``encode`` is called once, for the images that are not known.

        ``mask``: the mask that ``encode`` applies, empty if none; latents under another mask are others.
        """
        keys = [blake2b(image.tobytes() + mask, digest_size=20).digest() for image in images]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        first = {key: number for number, key in reversed(list(enumerate(keys))) if key not in found}
        if first:
            new = sorted(first.items(), key=lambda item: item[1])
            latents = encode(images[[number for _, number in new]])
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


@dataclass(slots=True)
class LatentModels:
    """The networks of one checkpoint, on one device, in one precision; ``memory`` keeps latents of their codec."""

    unet: UNet3D
    codec: LatentCodec
    device: torch.device
    dtype: torch.dtype
    memory: LatentMemory = field(default_factory=LatentMemory)

    def to_full_precision(self) -> None:
        """Convert both networks to fp32; there is no way back."""
        self.unet.float()
        self.codec.float()
        self.dtype = torch.float32
        self.memory.clear()


class LatentGenerator:
    """Generates the masked area of windows of faces. One object is for one run: it holds the run's noise.

    All frames of a run start from the same noise frame, as in the published code, so neighbouring windows agree. The
    result does not depend on how windows are batched. ``sample_posterior`` draws the latents of the masked and the
    reference images from the codec's posterior, as the published code does and in its order (noise, then for each
    window the masked and the reference images); otherwise their mode is taken, which does not flicker.
    """

    def __init__(
        self,
        models: LatentModels,
        keep_mask: np.ndarray,
        settings: SamplerSettings,
        seed: int,
        *,
        sample_posterior: bool = False,
        on_step: Callable[[int], None] = lambda windows: None,
    ) -> None:
        """``keep_mask`` (1, R, R) float32, 1 = keep. ``on_step(n)`` is called after each step of n windows."""
        self.resolution = keep_mask.shape[-1]
        self._models = models
        self._settings = settings
        self._on_step = on_step
        self._keep_mask = torch.from_numpy(keep_mask)
        self._mask_bytes = keep_mask.tobytes()
        self._random = torch.Generator().manual_seed(seed)  # on the CPU: the same draws for every device
        side = exact_div(self.resolution, LATENT_DOWNSCALE)
        self.noise = shared_noise(self._random, 1, 1, side, side, models.unet.config.out_channels)
        self._draws: dict[int, Tensor] | None = {} if sample_posterior else None

    @torch.inference_mode()
    def __call__(self, windows: list[Window]) -> np.ndarray:
        """(n, F, 3, R, R) float32, about [-1, 1]. The windows have equal numbers of frames."""
        n, frames = len(windows), len(windows[0].faces)
        audio = self._to_device(np.stack([window.audio for window in windows]))
        masked, reference = self._encode_conditioning(windows)
        keep = latent_mask(self._keep_mask).to(masked)
        conditioning = Conditioning(keep.expand(n, 1, frames, -1, -1), masked, reference)
        noise = self.noise.to(masked).expand(n, -1, frames, -1, -1)
        latents = sample(
            self._models.unet, conditioning, audio, noise, self._settings, lambda index, latents: self._on_step(n)
        )
        images = self._models.codec.decode(latents.transpose(1, 2).flatten(0, 1))
        return images.unflatten(0, (n, frames)).float().cpu().numpy()

    def _encode_conditioning(self, windows: list[Window]) -> tuple[Tensor, Tensor]:
        """Latents (n, C, F, h, w) of the masked and of the reference images."""
        faces = np.concatenate([window.faces for window in windows])
        references = np.concatenate([window.references for window in windows])
        draws = self._posterior_draws(windows)
        if draws is None:
            memory = self._models.memory
            found = (
                memory.recall(faces, self._mask_bytes, self._encode_masked),
                memory.recall(references, b"", self._encode),
            )
        else:
            found = self._encode_masked(faces, draws[0]), self._encode(references, draws[1])
        masked, reference = (latents.unflatten(0, (len(windows), -1)).transpose(1, 2) for latents in found)
        return masked, reference.expand_as(masked)

    def _encode(self, faces: np.ndarray, draws: Tensor | None = None) -> Tensor:
        """(N, 3, R, R) -> latents (N, C, h, w), by normal ``draws`` (N, C, h, w) from the posterior; None: its mode."""
        images = self._to_device(faces)
        return self._models.codec.encode(images, None if draws is None else draws.to(images))

    def _encode_masked(self, faces: np.ndarray, draws: Tensor | None = None) -> Tensor:
        """The same for the faces with the area to generate masked."""
        return self._encode(faces * self._keep_mask.numpy(), draws)

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._models.device, self._models.dtype)

    def _posterior_draws(self, windows: list[Window]) -> Tensor | None:
        """(2, n*F, C, h, w) for the masked and for the reference images, or None without ``sample_posterior``.

        They are drawn once for each window, in order, so generating a batch again gives the same.
        """
        if self._draws is None:
            return None
        for window in windows:
            if window.number not in self._draws:
                shape = (2, len(window.faces), self.noise.shape[1], *self.noise.shape[-2:])
                self._draws[window.number] = torch.randn(shape, generator=self._random)
        for number in [number for number in self._draws if number < windows[0].number]:
            del self._draws[number]
        return torch.cat([self._draws[window.number] for window in windows], dim=1)

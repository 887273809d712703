"""The diffusion model as the pipeline sees it: windows of faces and sound in, windows of faces out.

n windows · F frames · R face side · h = w = R/8
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

MEMORY_BYTES = 256 * 2**20  # 5 min of video at 256 px in single precision


class LatentMemory:
    """Keeps latents by the content of what they were made of, and forgets those that were not asked for longest.

    What is found is what was computed, to the bit, on the device where it was computed. Several threads may ask at
    once.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
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


@dataclass(slots=True)
class LatentModels:
    """The networks of one checkpoint, on one device, in one precision; ``memory`` holds latents that they made."""

    unet: UNet3D
    codec: LatentCodec
    device: torch.device
    dtype: torch.dtype
    memory: LatentMemory = field(default_factory=LatentMemory)

    def to_full_precision(self) -> None:
        """Turn both networks into fp32, for good."""
        self.unet.float()
        self.codec.float()
        self.dtype = torch.float32
        self.memory.clear()


class LatentGenerator:
    """Generates the masked area of windows of faces. One object serves one run: it holds the run's noise.

    All frames of a run start from the same noise frame, as published, so neighbouring windows agree. The result does
    not depend on how windows are batched. ``sample_posterior`` draws the latents of the conditioning pictures from the
    codec's posterior as the published code does, in its order (noise, then per window masked and reference draws);
    otherwise their mode is taken, which does not flicker.
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
        masked, reference = self._look_at(windows)
        keep = latent_mask(self._keep_mask).to(masked)
        conditioning = Conditioning(keep.expand(n, 1, frames, -1, -1), masked, reference)
        noise = self.noise.to(masked).expand(n, -1, frames, -1, -1)
        latents = sample(
            self._models.unet, conditioning, audio, noise, self._settings, lambda index, latents: self._on_step(n)
        )
        pictures = self._models.codec.decode(latents.transpose(1, 2).flatten(0, 1))
        return pictures.unflatten(0, (n, frames)).float().cpu().numpy()

    def _look_at(self, windows: list[Window]) -> tuple[Tensor, Tensor]:
        """Latents (n, C, F, h, w) of the masked faces and of the references."""
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
        """(N, 3, R, R) -> latents (N, C, h, w). ``draws`` of that shape from the posterior; None takes its mode."""
        pictures = self._to_device(faces)
        return self._models.codec.encode(pictures, None if draws is None else draws.to(pictures))

    def _encode_masked(self, faces: np.ndarray, draws: Tensor | None = None) -> Tensor:
        """The same with the area hidden that is to be generated."""
        return self._encode(faces * self._keep_mask.numpy(), draws)

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._models.device, self._models.dtype)

    def _posterior_draws(self, windows: list[Window]) -> Tensor | None:
        """(2, n*F, C, h, w): for the masked and for the reference pictures.

        Drawn once per window, in the order of the windows, so that doing a batch again changes nothing.
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

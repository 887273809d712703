"""The diffusion model as the pipeline sees it: windows of faces and sound in, windows of faces out.

n windows · F frames · R face side · h = w = R/8
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from latentsync.constants import LATENT_DOWNSCALE, exact_div
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import shared_noise
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.latent_memory import LatentMemory
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.types import Window


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
        on_pass: Callable[[int], None] = lambda windows: None,
    ) -> None:
        """``keep_mask`` (1, R, R) float32, 1 = keep. ``on_pass(n)`` is called after each step of n windows."""
        self.resolution = keep_mask.shape[-1]
        self._models = models
        self._settings = settings
        self._on_pass = on_pass
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
        faces = np.concatenate([window.faces for window in windows])
        audio = self._to_device(np.stack([window.audio for window in windows]))
        draws = self._posterior_draws(windows)
        if draws is None:
            latents = self._models.memory.recall(faces, self._mask_bytes, self._encode)
        else:
            latents = self._encode(faces, draws)
        masked, reference = latents.unflatten(0, (n, frames)).transpose(1, 2).chunk(2, dim=1)
        keep = latent_mask(self._keep_mask).to(latents)
        conditioning = Conditioning(keep.expand(n, 1, frames, -1, -1), masked, reference)
        noise = self.noise.to(latents).expand(n, -1, frames, -1, -1)
        latents = sample(
            self._models.unet, conditioning, audio, noise, self._settings, lambda index, latents: self._on_pass(n)
        )
        pictures = self._models.codec.decode(latents.transpose(1, 2).flatten(0, 1))
        return pictures.unflatten(0, (n, frames)).float().cpu().numpy()

    def _encode(self, faces: np.ndarray, draws: Tensor | None = None) -> Tensor:
        """(N, 3, R, R) -> (N, 2 C, h, w): latents of the masked and of the whole faces.

        ``draws`` (2, N, C, h, w) from the posterior, for the masked and for the whole; None takes the mode.
        """
        pictures = self._to_device(faces)
        both = torch.cat([pictures * self._keep_mask.to(pictures), pictures])
        latents = self._models.codec.encode(both, None if draws is None else draws.flatten(0, 1).to(pictures))
        return torch.cat(latents.chunk(2), dim=1)

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

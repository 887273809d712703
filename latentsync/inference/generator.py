"""The diffusion model as the pipeline sees it: windows of faces and sound in, windows of faces out.

n windows · F frames · R face side · h = w = R/8
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentsync.constants import LATENT_DOWNSCALE, exact_div
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import shared_noise
from latentsync.diffusion.sampler import SamplerSettings, sample
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.types import Window


@dataclass(slots=True)
class LatentModels:
    """The networks of one checkpoint, on one device, in one precision."""

    unet: UNet3D
    codec: LatentCodec
    device: torch.device
    dtype: torch.dtype

    def to_full_precision(self) -> None:
        """Turn both networks into fp32, for good."""
        self.unet.float()
        self.codec.float()
        self.dtype = torch.float32


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
        self._random = torch.Generator().manual_seed(seed)  # on the CPU: the same draws for every device
        side = exact_div(self.resolution, LATENT_DOWNSCALE)
        self.noise = shared_noise(self._random, 1, 1, side, side, models.unet.config.out_channels)
        self._draws: dict[int, Tensor] | None = {} if sample_posterior else None

    @torch.inference_mode()
    def __call__(self, windows: list[Window]) -> np.ndarray:
        """(n, F, 3, R, R) float32, about [-1, 1]. The windows have equal numbers of frames."""
        n, frames = len(windows), len(windows[0].faces)
        faces = self._to_device(np.stack([window.faces for window in windows])).flatten(0, 1)
        audio = self._to_device(np.stack([window.audio for window in windows]))
        keep = self._keep_mask.to(faces)
        masked_draw, reference_draw = self._posterior_draws(windows)
        codec = self._models.codec

        def by_window(pictures: Tensor) -> Tensor:  # (n*F, C, h, w) -> (n, C, F, h, w)
            return pictures.unflatten(0, (n, frames)).transpose(1, 2)

        conditioning = Conditioning(
            keep_mask=latent_mask(keep).expand(n, 1, frames, -1, -1),
            masked=by_window(codec.encode(faces * keep, masked_draw)),
            reference=by_window(codec.encode(faces, reference_draw)),
        )
        noise = self.noise.to(faces).expand(n, -1, frames, -1, -1)
        latents = sample(
            self._models.unet, conditioning, audio, noise, self._settings, lambda index, latents: self._on_pass(n)
        )
        pictures = codec.decode(latents.transpose(1, 2).flatten(0, 1))
        return pictures.unflatten(0, (n, frames)).float().cpu().numpy()

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._models.device, self._models.dtype)

    def _posterior_draws(self, windows: list[Window]) -> tuple[Tensor | None, Tensor | None]:
        """(n*F, C, h, w) for the masked and for the reference pictures.

        Drawn once per window, in the order of the windows, so that doing a batch again changes nothing.
        """
        if self._draws is None:
            return None, None
        for window in windows:
            if window.number not in self._draws:
                shape = (2, len(window.faces), self.noise.shape[1], *self.noise.shape[-2:])
                self._draws[window.number] = torch.randn(shape, generator=self._random)
        for number in [number for number in self._draws if number < windows[0].number]:
            del self._draws[number]
        masked, reference = torch.cat([self._draws[window.number] for window in windows], dim=1)
        return tuple(draw.to(self._models.device, self._models.dtype) for draw in (masked, reference))

"""The border between pixels and latents, and the only place that knows the scale of Stable Diffusion's latents.

N images · C latent channels (4 in every release) · R face side · h = w = R/8
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentsync.constants import LATENT_DOWNSCALE
from latentsync.runtime.memory import Portions

if TYPE_CHECKING:  # diffusers' autoencoders bring seconds of imports, and most who name a codec have none
    from diffusers.models import AutoencoderKL, AutoencoderTiny

# Stable Diffusion's autoencoder gives latents of standard deviation 1 / 0.18215 (arXiv 2112.10752); the U-Net works
# with about 1. A scale or shift in an autoencoder's own configuration is not read: the published code overrides both.
KL_SCALE = 0.18215
MAX_PIXELS = 2**20  # that an autoencoder works on at once, at most: 16 images of 256 px, or 4 of 512
CPU_PIXELS = 2**16  # that are decoded at once on a processor: what its caches hold. Four images of 128 px at a time
# take 0.65 (3.4 M parameters) or 0.93 (2.7 M) of the time of sixteen


class LatentCodec(nn.Module):
    """pixels (N, 3, R, R) in [-1, 1] <-> latents (N, C, h, w) in the scale that the U-Net works in.

    ``AutoencoderTiny`` (TAESD) was trained to give latents in that scale itself. At most ``max_batch`` images and
    ``max_pixels`` pixels are worked on at once, so that memory grows neither with N nor, up to 1024, with R; fewer once
    memory has run out. The work is done in the autoencoder's dtype; results come back in the input's. All methods that
    run it raise ``OutOfMemoryError`` if a single image does not fit. ``signature``: see
    ``checkpoint.latent_signature``; None = the weights tell. ``encoder``: another codec, whose encoder is used in place
    of the autoencoder's own, which then decodes only.
    """

    def __init__(
        self,
        autoencoder: AutoencoderKL | AutoencoderTiny,
        max_batch: int = 16,
        signature: str | None = None,
        encoder: LatentCodec | None = None,
    ) -> None:
        from diffusers.models import AutoencoderKL

        super().__init__()
        self.autoencoder = autoencoder
        self.max_pixels = MAX_PIXELS
        self._slices = Portions(max_batch, "a single image in the latent codec")
        self.signature = signature
        self.encoder = encoder
        self._has_posterior = isinstance(autoencoder, AutoencoderKL)

    @property
    def channels(self) -> int:
        """C."""
        return self.autoencoder.config["latent_channels"]

    def encode(self, pixels: Tensor, eps: Tensor | None = None) -> Tensor:
        """pixels (N, 3, R, R) -> latents (N, C, h, w).

        ``eps`` (N, C, h, w) standard normal draws from the posterior; None takes its mode. An autoencoder without a
        posterior has one answer only and takes no notice of ``eps``.
        """
        if self.encoder is not None:
            return self.encoder.encode(pixels, eps)
        if not self._has_posterior:
            return self._sliced(lambda part: self.autoencoder.encode(part).latents, pixels)
        if eps is None:
            return self._sliced(lambda part: self.autoencoder.encode(part).latent_dist.mean * KL_SCALE, pixels)
        return self._sliced(self._draw, pixels, eps)

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (N, 3, R, R) -> mean and standard deviation (N, C, h, w) of what ``encode`` draws.

        The standard deviation of an autoencoder without a posterior is zero.
        """
        if self.encoder is not None:
            return self.encoder.posterior(pixels)
        if not self._has_posterior:
            mean = self.encode(pixels)
            return mean, torch.zeros_like(mean)
        mean, std = self._sliced(self._moments, pixels).chunk(2, dim=1)
        return mean, std

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of the autoencoder's blocks for the backward pass."""
        self.autoencoder.enable_gradient_checkpointing()

    def arrange_for_processor(self) -> None:
        """Lay the weights out so that they compute fastest on a processor.

        In channels-last memory a codec without group norms takes half to three quarters of the time, and encoders with
        them two thirds to nine tenths; decoders with them gain nothing.
        """
        quicker: nn.Module = self.autoencoder.encoder if self._has_posterior else self.autoencoder
        quicker.to(memory_format=torch.channels_last)
        if self.encoder is not None:
            self.encoder.arrange_for_processor()

    def decode(self, latents: Tensor) -> Tensor:
        """latents (N, C, h, w) -> pixels (N, 3, R, R), not clamped."""
        scale = KL_SCALE if self._has_posterior else 1.0
        at_once = CPU_PIXELS if latents.device.type == "cpu" else self.max_pixels
        return self._sliced(
            lambda part: self.autoencoder.decode(part / scale).sample,
            latents,
            downscale=LATENT_DOWNSCALE,
            max_pixels=min(at_once, self.max_pixels),
        )

    def _moments(self, pixels: Tensor) -> Tensor:
        posterior = self.autoencoder.encode(pixels).latent_dist
        return torch.cat([posterior.mean, posterior.std], dim=1) * KL_SCALE

    def _draw(self, pixels: Tensor, eps: Tensor) -> Tensor:
        posterior = self.autoencoder.encode(pixels).latent_dist
        return (posterior.mean + posterior.std * eps) * KL_SCALE

    def _sliced(
        self,
        function: Callable[..., Tensor],
        *inputs: Tensor,
        downscale: int = 1,
        max_pixels: int | None = None,
    ) -> Tensor:
        """``function`` of the inputs, a slice of the N images at a time; a side of the first input is that of the
        images over ``downscale``. ``max_pixels``: of a slice; None = the codec's own."""
        height, width = inputs[0].shape[-2:]
        most = max(1, (max_pixels or self.max_pixels) // (height * width * downscale**2))
        converted = [x.to(self.autoencoder.dtype) for x in inputs]
        images = range(len(inputs[0]))
        results: list[Tensor] = []
        while images:
            part = images[: min(most, self._slices.limit)]
            done = self._slices.attempt(lambda part: function(*(x[part.start : part.stop] for x in converted)), part)
            if done is not None:
                results.append(done)
                images = images[len(part) :]
        return torch.cat(results).to(inputs[0].dtype)

"""The latent diffusion model as a ``WindowGenerator``: windows of faces and audio in, windows of faces out.

A batch goes three ways: its windows are prepared and sent to the device, the kernels are launched, and the faces come
back. Of several threads that call the generator one launches at a time, and the others prepare and fetch meanwhile, so
the device goes from batch to batch without a gap.

n windows · F frames · N images · C latent channels · R face side · h = w = R/8
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from latentsync.constants import LATENT_DOWNSCALE, exact_div
from latentsync.diffusion.conditioning import Conditioning, latent_mask
from latentsync.diffusion.noise import shared_noise
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.align import image_key
from latentsync.inference.kept_latents import KeptLatents
from latentsync.inference.latent_memory import LatentMemory
from latentsync.inference.transfer import Download, Transfer, Upload
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.runtime.graphs import GraphedDenoiser
from latentsync.types import Denoiser, Window


@dataclass(slots=True)
class LatentModels:
    """The networks of one checkpoint, on one device, in one precision; ``memory`` keeps latents of their codec.

    ``compiled``: by torch.compile. ``graphs`` evaluate the U-Net in its place, where there are any. ``lock`` is held
    while kernels are launched; not on the CPU, where the thread that launches is the one that computes, and several may
    (``batching.SideBySide``).
    """

    unet: UNet3D
    codec: LatentCodec
    device: torch.device
    dtype: torch.dtype
    memory: LatentMemory = field(default_factory=LatentMemory)
    compiled: bool = False
    graphs: GraphedDenoiser | None = None
    lock: AbstractContextManager = field(init=False)

    def __post_init__(self) -> None:
        self.lock = nullcontext() if self.device.type == "cpu" else threading.Lock()

    @property
    def denoiser(self) -> Denoiser:
        """What evaluates the U-Net."""
        return self.graphs or self.unet

    def converted(self, dtype: torch.dtype) -> None:
        """To be called when the networks are in another precision: forget what was made in the one before."""
        self.dtype = dtype
        self.memory.clear()
        if self.graphs is not None:
            self.graphs.forget()


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The windows of a batch on their way to the device.

    ``faces`` (n*F, 3, R, R); ``references`` (n, 3, R, R) or None where each frame is its own; ``audio`` (n, F, S, D);
    ``draws`` (2, n*F, C, h, w) for the masked and for the reference images, or None for the posterior's mode.
    ``face_keys`` and ``reference_keys``: the ``image_key`` of each image. ``kept``: (n, C, F, h, w), the result of
    sampling, if it is known already. A number that occurs again is that of a window which fills the batch.
    """

    numbers: list[int]
    frames: int
    faces: Upload
    references: Upload | None
    audio: Upload
    draws: Upload | None
    face_keys: list[bytes]
    reference_keys: list[bytes]
    kept: Tensor | None

    @property
    def windows(self) -> int:
        """n."""
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class LaunchedBatch:
    """What comes back of a batch: faces (n, F, 3, R, R), and latents (n, C, F, h, w) if they are to be kept."""

    faces: Download
    latents: Download | None


class LatentGenerator:
    """Generates the masked area of windows of faces. One object is for one run: it holds the run's noise.

    Several threads may call it at once, but not with ``sample_posterior``: draws depend on the order of the windows.

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
        kept: KeptLatents | None = None,
    ) -> None:
        """``keep_mask`` (1, R, R) float32, 1 = keep. ``on_step(n)`` is called after each step of n windows. ``kept``:
        where finished windows are looked up and put."""
        self.resolution = keep_mask.shape[-1]
        self._models = models
        self._settings = settings
        self._on_step = on_step
        self._kept = kept
        self._keep_mask = torch.from_numpy(keep_mask)
        self._mask_key = image_key(keep_mask)
        self._transfer = Transfer(models.device)
        self._random = torch.Generator().manual_seed(seed)  # on the CPU: the same draws for every device
        side = exact_div(self.resolution, LATENT_DOWNSCALE)
        self.noise = shared_noise(self._random, 1, 1, side, side, models.unet.config.out_channels)
        self._draws: dict[int, Tensor] | None = {} if sample_posterior else None
        self._on_device: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """(n, F, 3, R, R) float32, about [-1, 1]. The windows have equal numbers of frames."""
        prepared = self.prepare(windows)
        with self._models.lock:
            launched = self.launch(prepared)
        faces = launched.faces.wait()
        if launched.latents is not None and self._kept is not None:
            self._kept.write(prepared.numbers, launched.latents.wait_as_is())
        return faces

    @torch.inference_mode()
    def prepare(self, windows: list[Window]) -> PreparedBatch:
        """Everything that the launching thread need not do."""
        draws = self._posterior_draws(windows)
        face_keys: list[bytes] = []
        reference_keys: list[bytes] = []
        if draws is None:  # otherwise nothing is remembered
            face_keys = [key for window in windows for key in window.face_keys or map(image_key, window.faces)]
            reference_keys = [
                window.reference_key or image_key(window.reference)
                for window in windows
                if window.reference is not None
            ]
        dtype = self._models.dtype
        references = [window.reference[None] for window in windows if window.reference is not None]
        return PreparedBatch(
            numbers=[window.number for window in windows],
            frames=len(windows[0].faces),
            faces=self._transfer.upload([window.faces for window in windows], dtype),
            references=self._transfer.upload(references, dtype) if references else None,
            audio=self._transfer.upload([window.audio[None] for window in windows], dtype),
            draws=None if draws is None else self._transfer.upload([draws.numpy()], dtype),
            face_keys=face_keys,
            reference_keys=reference_keys or face_keys,
            kept=None if self._kept is None else self._kept.read([window.number for window in windows], dtype),
        )

    @torch.inference_mode()
    def encode(self, windows: list[Window]) -> None:
        """Only find the latents of the faces and references, which ``LatentModels.memory`` then knows."""
        with self._models.lock:
            self._encode_conditioning(self.prepare(windows))

    @torch.inference_mode()
    def launch(self, prepared: PreparedBatch) -> LaunchedBatch:
        """Launch all kernels of a batch; does not wait for the device."""
        n, frames = prepared.windows, prepared.frames
        kept, dtype = prepared.kept, self._models.dtype
        if kept is not None and kept.dtype == dtype:  # otherwise the precision has changed since they were read
            latents, fresh = kept.to(self._models.device), None
            self._on_step(n * self._settings.steps)
        else:
            noise, keep_mask = self._constants(dtype)
            keep = latent_mask(keep_mask).expand(n, 1, frames, -1, -1)
            latents = sample(
                self._models.denoiser,
                Conditioning(keep, *self._encode_conditioning(prepared)),
                prepared.audio.use().to(dtype),
                noise.expand(n, -1, frames, -1, -1),
                self._settings,
                lambda index, latents: self._on_step(len(set(prepared.numbers))),
            )
            fresh = None if self._kept is None else self._transfer.download(latents)
        images = self._models.codec.decode(latents.transpose(1, 2).flatten(0, 1))
        return LaunchedBatch(self._transfer.download(images.unflatten(0, (n, frames))), fresh)

    def _constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Noise and keep mask on the device; they are sent once in a run."""
        if dtype not in self._on_device:
            device = self._models.device
            self._on_device[dtype] = self.noise.to(device, dtype), self._keep_mask.to(device, dtype)
        return self._on_device[dtype]

    def _encode_conditioning(self, prepared: PreparedBatch) -> tuple[Tensor, Tensor]:
        """Latents (n, C, F, h, w) of the masked and of the reference images."""
        faces = prepared.faces.use()
        references = faces if prepared.references is None else prepared.references.use()
        if prepared.draws is None:
            memory = self._models.memory
            found = (
                memory.recall(
                    prepared.face_keys, self._mask_key, lambda numbers: self._encode_masked(_chosen(faces, numbers))
                ),
                memory.recall(prepared.reference_keys, b"", lambda numbers: self._encode(_chosen(references, numbers))),
            )
        else:
            draws = prepared.draws.use()
            found = self._encode_masked(faces, draws[0]), self._encode(references, draws[1])
        masked, reference = (latents.unflatten(0, (prepared.windows, -1)).transpose(1, 2) for latents in found)
        return masked, reference.expand_as(masked)

    def _encode(self, faces: Tensor, draws: Tensor | None = None) -> Tensor:
        """(N, 3, R, R) -> latents (N, C, h, w), by normal ``draws`` (N, C, h, w) from the posterior; None: its mode.

        On a processor the mode is found image by image: that is quicker there, and the last bits do not depend on
        which images are known already, so a run that goes on gives what one without a break gives.
        """
        images, codec = faces.to(self._models.dtype), self._models.codec
        if draws is not None:
            return codec.encode(images, draws.to(images))
        if self._models.device.type == "cpu":
            return torch.cat([codec.encode(image) for image in images.split(1)])
        return codec.encode(images)

    def _encode_masked(self, faces: Tensor, draws: Tensor | None = None) -> Tensor:
        """The same for the faces with the area to generate masked."""
        _, keep_mask = self._constants(faces.dtype)
        return self._encode(faces * keep_mask, draws)

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


def _chosen(images: Tensor, numbers: list[int]) -> Tensor:
    """Images (N, ...) at the positions ``numbers``. Not by a list as index, which the device would be waited for."""
    return images if len(numbers) == len(images) else torch.stack([images[number] for number in numbers])

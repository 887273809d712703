"""The windows that a U-Net's configuration asks for, each with its own noise.

F frames of a window · C latent channels · R face side · h = w = R/8
S audio tokens of width D per frame · M mel frames
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from latentsync.checkpoint import sha256_file
from latentsync.constants import WINDOW_FRAMES
from latentsync.data.batches import ClipFault, SampleOrigin, TensorBatch, UNetBatch
from latentsync.data.clip_dataset import BadClip, SampleKey
from latentsync.data.clip_reader import MEL_VERSION, ArrayCache, AudioFeatureReader, MelReader
from latentsync.data.manifest import Clip
from latentsync.data.mixture import SampleSource
from latentsync.data.unet_dataset import UNetDataset, WindowDataset
from latentsync.errors import ConfigError, DataError
from latentsync.face.mask import load_mask
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNetConfig
from latentsync.recipe import UNetRecipe
from latentsync.training.latent_cache import LatentCache, fill_latents
from latentsync.training.loop.clips import RunClips, fill_cache
from latentsync.training.unet.latents import Draws, Noise, PosteriorBatch, stack_draws
from latentsync.training.unet.networks import LossConfig, audio_encoder_path
from latentsync.types import AudioFeatures

_VALIDATION = 1  # added to the seed


@dataclass(frozen=True, slots=True)
class CachedSample:
    """One window, with mean and standard deviation of its latents: ``target``, ``masked``, ``reference``
    (F, 2, C, h, w) float32; ``pixels`` (F, 3, R, R) uint8 of the target, None where no loss looks at them; ``audio``
    (F, S, D) float32, ``mel`` (1, 80, M) float32 or None; ``mouth_seen`` as in ``UNetSample``."""

    target: Tensor
    masked: Tensor
    reference: Tensor
    pixels: Tensor | None
    audio: Tensor
    mel: Tensor | None
    origin: SampleOrigin
    mouth_seen: bool


class CachedWindows(WindowDataset[CachedSample]):
    """The windows of ``UNetDataset``, with latents from a cache; ``pixels``: whether a loss looks at decoded faces."""

    def __init__(
        self,
        clips: Sequence[Clip],
        keep_mask: np.ndarray,
        features: Callable[[Clip], AudioFeatures],
        mels: MelReader | None,
        seed: int,
        num_frames: int,
        steady_share: float,
        cache: LatentCache,
        pixels: bool,
    ) -> None:
        super().__init__(clips, keep_mask, features, mels, seed, num_frames, steady_share)
        self._cache = cache
        self._with_pixels = pixels

    def collate(self, samples: Sequence[CachedSample]) -> PosteriorBatch:
        """Stack samples into a batch."""
        pixels = [sample.pixels for sample in samples if sample.pixels is not None]
        mels = [sample.mel for sample in samples if sample.mel is not None]
        return PosteriorBatch(
            target=torch.stack([sample.target for sample in samples]),
            masked=torch.stack([sample.masked for sample in samples]),
            reference=torch.stack([sample.reference for sample in samples]),
            pixels=torch.stack(pixels) if pixels else None,
            keep_mask=self.keep_mask,
            audio=torch.stack([sample.audio for sample in samples]),
            mel=torch.stack(mels) if mels else None,
            origins=tuple(sample.origin for sample in samples),
            mouth_seen=self.stack_seen([sample.mouth_seen for sample in samples]),
        )

    def _sample(
        self, clip: Clip, key: SampleKey, rng: np.random.Generator, faults: tuple[ClipFault, ...]
    ) -> CachedSample:
        try:
            choice = self.choose(clip, rng)
            whole, masked = self._cache.read(clip)
            pixels = self.faces(clip, choice.start) if self._with_pixels else None
        except DataError as error:
            raise BadClip(clip, error.message) from error
        step = 0 if choice.steady else 1
        reference = choice.reference_start + step * np.arange(self.num_frames)
        target = slice(choice.start, choice.start + self.num_frames)
        return CachedSample(
            target=torch.from_numpy(whole[target].astype(np.float32)),
            masked=torch.from_numpy(masked[target].astype(np.float32)),
            reference=torch.from_numpy(whole[reference].astype(np.float32)),
            pixels=pixels,
            audio=choice.audio,
            mel=choice.mel,
            origin=SampleOrigin(clip.content, str(clip.path), choice.start, faults),
            mouth_seen=clip.shows_mouth(choice.start, self.num_frames),
        )


@dataclass(frozen=True, slots=True)
class DrawnBatch(TensorBatch):
    """Windows, and everything that is drawn for them."""

    windows: UNetBatch | PosteriorBatch
    draws: Draws

    @property
    def origins(self) -> tuple[SampleOrigin, ...]:
        """Where the windows come from."""
        return self.windows.origins


class DrawnWindows(Dataset[tuple[object, Draws]]):
    """Samples of ``windows`` with what ``noise`` draws by seeds that follow from (seed, epoch, index).

    So what a clip is shown with depends neither on the batch it is in nor on the process that draws it nor on what was
    drawn before: n processes train like one, and a resumed run like one that never stopped. Draws come with the
    samples, from the loader's processes: the one that feeds the device draws nothing.
    """

    def __init__(
        self,
        windows: SampleSource,
        stack: Callable[[Sequence[Any]], UNetBatch | PosteriorBatch],
        seed: int,
        noise: Noise,
    ) -> None:
        """``stack`` makes a batch of samples of ``windows``."""
        self._windows = windows
        self._stack = stack
        self._seed = seed
        self._noise = noise

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, key: SampleKey) -> tuple[object, Draws]:
        state = np.random.SeedSequence([self._seed, key.epoch, key.index]).generate_state(1, np.uint64)
        return self._windows[key], self._noise.draw(int(state[0] >> np.uint64(1)))  # PyTorch takes 63 bits

    def collate(self, samples: Sequence[tuple[object, Draws]]) -> DrawnBatch:
        """Stack samples into a batch."""
        windows, draws = zip(*samples, strict=True)
        return DrawnBatch(self._stack(windows), stack_draws(draws))


@dataclass(frozen=True, slots=True)
class UNetWindows:
    """What the loop trains on and what validation looks at; ``shown`` are longer windows, of which it shows some."""

    train: DrawnWindows
    validation: DrawnWindows
    shown: UNetDataset


def cache_folder(recipe: UNetRecipe) -> Path:
    """Where what was computed of the clips is kept: shared by the runs of one output folder, so by both stages."""
    return Path(recipe.data.train_output_dir) / "cache"


def noise_of(recipe: UNetRecipe) -> Noise:
    """How a configuration draws noise for its training; validations drop no audio."""
    run, data = recipe.run, recipe.data
    alpha = run.mixed_noise_alpha if run.use_mixed_noise else None
    channels = UNetConfig.from_dict(recipe.model).out_channels
    return Noise(data.num_frames, data.resolution, alpha, run.audio_dropout, channels)


def prepare_windows(
    recipe: UNetRecipe, clips: RunClips, losses: LossConfig, codec: LatentCodec, accelerator: Accelerator
) -> UNetWindows:
    """Compute what is cached of the clips, each process its share, and give the data sets that read it.

    Raises the ``WeightsError`` family for the audio encoder, and ``ConfigError`` if it does not fit the U-Net.
    """
    data, folder = recipe.data, cache_folder(recipe)
    keep_mask = load_mask(data.mask_image_path, data.resolution)
    path = audio_encoder_path(recipe)
    cache = ArrayCache(Path(data.audio_embeds_cache_dir or folder) / f"audio-{sha256_file(path)[:16]}")
    encoder = AudioEncoder.from_file(path, accelerator.device)
    if encoder.width != recipe.model.get("cross_attention_dim"):
        raise ConfigError(
            f"{path} gives features of width {encoder.width}, the U-Net attends to "
            f"{recipe.model.get('cross_attention_dim')}.",
            remedy="Name the right file in networks.audio_encoder, or change model.cross_attention_dim.",
        )
    latents = LatentCache(folder, codec, data.resolution, torch.from_numpy(keep_mask)) if data.cache_latents else None
    audio = AudioFeatureReader(encoder, cache)
    fill_cache(clips, audio.load, audio.encode, "embedding the audio", accelerator)
    if latents is not None:
        fill_latents(latents, codec, clips, accelerator)
    accelerator.wait_for_everyone()
    features = AudioFeatureReader(AudioEncoder.from_file(path), cache)  # on the CPU: it goes to worker processes
    mels = None
    if losses.sync is not None:
        mels = MelReader(ArrayCache(Path(data.audio_mel_cache_dir or folder) / MEL_VERSION))

    def windows(side: Literal["train", "validation"], seed: int, noise: Noise) -> DrawnWindows:
        def make(some: Sequence[Clip]) -> UNetDataset | CachedWindows:
            common = (some, keep_mask, features, mels, seed, data.num_frames, data.steady_reference or 0.0)
            return UNetDataset(*common) if latents is None else CachedWindows(*common, latents, losses.need_pixels)

        return DrawnWindows(clips.samples(side, make, seed), make(clips.validation).collate, seed, noise)

    seed, noise = recipe.run.seed, noise_of(recipe)
    stretch = -(-WINDOW_FRAMES // data.num_frames) * data.num_frames
    return UNetWindows(
        windows("train", seed, noise),
        windows("validation", seed + _VALIDATION, replace(noise, audio_dropout=0.0)),
        UNetDataset(clips.validation, keep_mask, features, None, seed, stretch),
    )

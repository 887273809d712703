"""From weight files to a pipeline that is ready to run. Imports the libraries of the networks, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from latentsync.audio.level import at_standard_level
from latentsync.checkpoint import load_codec, load_unet
from latentsync.checkpoint.codec import latent_signature
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import WeightsMismatchError
from latentsync.face.mask import load_mask
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.features.live_features import AudioSource, WholeAudio
from latentsync.inference.batching import OverDevices, SideBySide
from latentsync.inference.fallback import PrecisionFallback, convert_all, precision_name
from latentsync.inference.gpu_memory import batches_in_flight, fit_codec
from latentsync.inference.kept_latents import KeptLatents
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.inference.latent_memory import FaceLatents
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline, OnStep
from latentsync.inference.precision import has_fused_attention
from latentsync.inference.weights import ModelSettings, WeightPaths
from latentsync.models.attention import attend_in_pieces
from latentsync.runtime.compilation import compile_in_place
from latentsync.runtime.graphs import GraphedDenoiser
from latentsync.runtime.memory import with_memory_freed
from latentsync.types import AudioWindows, Window, WindowGenerator


def load_pipeline(
    weights: WeightPaths,
    settings: ModelSettings,
    device: torch.device | str | Sequence[torch.device] = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
) -> LipsyncPipeline:
    """Load the networks onto ``device`` in ``dtype``, once for any number of videos; of several devices onto each, to
    share the windows. The audio encoder is on the first.

    ``compiled``: see ``latentsync.runtime.compilation``. Raises the ``WeightsError`` family and ``OutOfMemoryError``;
    no weight is ever left at its random initialisation.
    """
    devices = [torch.device(device)] if isinstance(device, (str, torch.device)) else list(device)
    return with_memory_freed(
        lambda: _load(weights, settings, devices, dtype, compiled),
        f"the networks in {precision_name(dtype)} on {', '.join(map(str, devices))}",
    )


def _load(
    weights: WeightPaths, settings: ModelSettings, devices: list[torch.device], dtype: torch.dtype, compiled: bool
) -> LipsyncPipeline:
    # On a processor its few operations are not worth the rounding.
    encoder = AudioEncoder.from_file(weights.whisper, devices[0], torch.float32 if devices[0].type == "cpu" else dtype)
    models, *others = (_load_models(weights, settings, device, dtype, encoder, compiled) for device in devices)
    return pipeline_of(models, encoder, settings, others)


def _load_models(
    weights: WeightPaths,
    settings: ModelSettings,
    device: torch.device,
    dtype: torch.dtype,
    encoder: AudioEncoder,
    compiled: bool,
) -> LatentModels:
    unet = load_unet(
        weights.unet, resolution=settings.resolution, device=device, dtype=dtype, adapter=weights.adapter
    )
    if encoder.width != unet.config.cross_attention_dim:
        raise WeightsMismatchError(
            f"{weights.whisper} gives features of width {encoder.width}, {weights.unet} needs "
            f"{unet.config.cross_attention_dim}.",
            remedy="Take whisper/tiny.pt for 384 and whisper/small.pt for 768.",
        )
    codec = load_codec(weights.codec, device=device, dtype=dtype)
    if codec.channels != unet.config.out_channels:
        raise WeightsMismatchError(
            f"{weights.codec} gives latents of {codec.channels} channels, {weights.unet} works on "
            f"{unet.config.out_channels}.",
            remedy="Take the codec that the U-Net was trained with: checkpoints/vae for all releases.",
        )
    return arrange(LatentModels(unet, codec, device, dtype), compiled)


def arrange(models: LatentModels, compiled: bool = False) -> LatentModels:
    """The same networks in the memory layout that is fastest on their device, with attention and slices that fit there,
    and compiled if asked for."""
    if models.device.type == "cuda":
        for network in (models.unet, models.codec):  # the layout of cuDNN's half-precision kernels
            network.to(memory_format=torch.channels_last)
    elif models.device.type == "cpu":
        models.codec.arrange_for_processor()
    if not has_fused_attention(models.device, models.dtype):
        for network in (models.unet, models.codec):
            attend_in_pieces(network)
    fit_codec(models.codec, models.device, models.dtype)
    if compiled:  # not the encoder: it gets any number of images, those that are not remembered
        for part in (models.unet, models.codec.autoencoder.decoder):
            compile_in_place(part)
        models.compiled = True
        if models.device.type == "cuda":
            models.graphs = GraphedDenoiser(models.unet)
    return models


def pipeline_of(
    models: LatentModels,
    encoder: AudioEncoder,
    settings: ModelSettings,
    others: Sequence[LatentModels] = (),
) -> LipsyncPipeline:
    """A pipeline of networks that are in memory already. ``others``: the same networks on more devices, which share the
    windows."""
    keep_mask = load_mask(settings.mask, settings.resolution)
    everywhere = [models, *others]
    fallbacks = [PrecisionFallback(each) for each in everywhere]
    on_each = batches_in_flight(models.device)

    def make_generator(options: SyncOptions, on_step: OnStep, kept: KeptLatents | None) -> WindowGenerator:
        as_published = options.compat is not None
        generators = [
            LatentGenerator(
                each,
                keep_mask,
                options.sampler,
                options.seed,
                sample_posterior=as_published,
                on_step=on_step,
                kept=kept,
            )
            for each in everywhere
        ]
        if as_published:  # posterior draws depend on the order of the windows: one device, one window after another
            return generators[0]
        if others:
            return OverDevices(generators, on_each)
        return SideBySide(generators[0]) if models.device.type == "cpu" else generators[0]

    def in_precision(
        dtype: torch.dtype, options: SyncOptions, on_step: OnStep, kept: KeptLatents | None
    ) -> WindowGenerator:
        convert_all(fallbacks, dtype)
        return make_generator(options, on_step, kept)

    def restore() -> None:
        for fallback in fallbacks:
            fallback.restore()

    def embed_audio(audio: np.ndarray | AudioSource, options: SyncOptions) -> AudioWindows:
        if options.live is not None or not isinstance(audio, np.ndarray):
            return encoder.live(WholeAudio(audio) if isinstance(audio, np.ndarray) else audio)
        if options.compat is not None:
            return encoder.stream(audio, "published")
        return encoder.stream(at_standard_level(audio), "overlapping")

    def encode_faces(windows: list[Window]) -> None:
        LatentGenerator(models, keep_mask, SamplerSettings(), seed=0).encode(windows)

    return LipsyncPipeline(
        make_generator,
        embed_audio,
        keep_mask,
        num_frames=settings.num_frames,
        steady_reference=settings.steady_reference,
        retries={precision_name(dtype): partial(in_precision, dtype) for dtype in fallbacks[0].precisions()},
        on_end=restore,
        in_flight=on_each * len(everywhere),
        filled_batches=models.compiled,
        latents=FaceLatents(
            models.memory, encode_faces, models.device, models.dtype, lambda: latent_signature(models.codec)
        ),
    )

"""The reference that speed is measured against: the same result, one thing after the other.

No stage runs beside another, windows go through the network one at a time, the codec and the paste see one frame at a
time, nothing is compiled or kept for later, and the sampler is DDIM as it is written down. The steps are the product's
own functions; what it does to make them quick is left out, so both give the same frames.

F frames · C latent channels · R face side · h = w = R/8 · S audio tokens per frame of width D
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from benchmarks.dub_inputs import in_rgb
from benchmarks.networks import LoadedNetworks
from latentsync.audio.level import at_standard_level
from latentsync.constants import AUDIO_RATE, LATENT_DOWNSCALE
from latentsync.diffusion.conditioning import Conditioning, build_unet_input, latent_mask
from latentsync.diffusion.noise import shared_noise
from latentsync.diffusion.schedule import make_scheduler
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.align import FaceAligner
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks, TargetFrame
from latentsync.inference.batching import GeneratedGroup
from latentsync.inference.compositing import Compositor, with_steady_fits
from latentsync.inference.joins import JoinedFrame, frames_of
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.timeline import playing_order
from latentsync.inference.windows import (
    AlignedFrame,
    FaceFrame,
    PassedFrame,
    WindowPlan,
    group_frames,
    ramp_at_gaps,
)
from latentsync.types import Denoiser, Frame, VideoSource, Window

Denoise = Callable[[Denoiser, Conditioning, Tensor, Tensor, SamplerSettings], Tensor]


@torch.no_grad()
def plain_ddim(
    denoiser: Denoiser, conditioning: Conditioning, audio: Tensor, noise: Tensor, settings: SamplerSettings
) -> Tensor:
    """Arguments and result as of ``diffusion.sampler.sample``; the whole network at every step."""
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(settings.steps)
    latents = noise
    for timestep in scheduler.timesteps:
        unet_input = build_unet_input(latents, conditioning)
        predicted = denoiser(unet_input, timestep, audio)
        if settings.guided:
            silent = denoiser(unet_input, timestep, torch.zeros_like(audio))
            predicted = silent + settings.guidance_scale * (predicted - silent)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
    return latents


class PlainPath:
    """One way from frames and audio to frames. ``clock`` counts the stages, which add up to the whole."""

    def __init__(self, networks: LoadedNetworks, options: SyncOptions, denoise: Denoise = plain_ddim) -> None:
        self._networks = networks
        self._models = networks.models
        self._options = options
        self._denoise = denoise
        self._keep_mask = load_mask(networks.settings.mask, networks.settings.resolution)
        self._resolution = networks.settings.resolution
        side = self._resolution // LATENT_DOWNSCALE
        draws = torch.Generator().manual_seed(options.seed)
        self._noise = shared_noise(draws, 1, 1, side, side, self._models.unet.config.out_channels)
        self.clock = StageClock()

    def sync(self, video: VideoSource, waveform: np.ndarray, tracks: FaceTracks) -> Iterator[Frame]:
        """As ``LipsyncPipeline.sync`` without ``compat``."""
        options, clock = self._options, self.clock
        with clock.measure("audio"):
            audio = self._networks.encoder.encode(at_standard_level(waveform))
        shown = map(in_rgb, playing_order(video, Fraction(len(waveform), AUDIO_RATE), options.length))
        targets = tracks.follow(clock.each("decode", shown))
        aligner = FaceAligner(self._resolution)
        aligned = ramp_at_gaps((self._align(target, aligner) for target in targets), options.ramp)
        settings = self._networks.settings
        plan = WindowPlan.for_run(None, video.info.fps, settings.num_frames, settings.steady_reference, options.overlap)
        groups = group_frames(aligned, audio, plan)
        generated = (GeneratedGroup(group, tuple(map(self._generate, group.windows))) for group in groups)
        yield from self._pasted(frames_of(generated, {}, plan))

    def _pasted(self, frames: Iterator[JoinedFrame]) -> Iterator[Frame]:
        compositor = Compositor(self._keep_mask, self._options.paste, None, self.clock)
        for fitted in with_steady_fits(frames, compositor.measure):
            yield compositor.paste_all((fitted,))

    def _align(self, target: TargetFrame, aligner: FaceAligner) -> AlignedFrame:
        if target.face is None:
            return PassedFrame(target.frame, target.shot, target.reason)
        with self.clock.measure("align"):
            face = aligner.align(target.frame, target.face.landmarks)
        return FaceFrame(target.frame, face, target.shot, target.face)

    @torch.inference_mode()
    def _generate(self, window: Window) -> np.ndarray:
        """(F, 3, R, R) float32, about [-1, 1]."""
        with self.clock.measure("generate"), torch.compiler.set_stance("force_eager"):
            codec = self._models.codec
            faces, audio = self._to_device(window.faces), self._to_device(window.audio)
            keep = self._to_device(self._keep_mask)

            def encode(images: Tensor) -> Tensor:  # (F, 3, R, R) -> (1, C, F, h, w)
                return torch.stack([codec.encode(image[None])[0] for image in images], dim=1)[None]

            hole = latent_mask(keep).expand(1, 1, len(faces), -1, -1)
            masked, reference = encode(faces * keep), encode(self._to_device(window.references))
            conditioning = Conditioning(hole, masked, reference.expand_as(masked))
            noise = self._noise.to(faces).expand(-1, -1, len(faces), -1, -1)
            latents = self._denoise(self._models.unet, conditioning, audio[None], noise, self._options.sampler)
            images = [codec.decode(latent[None]) for latent in latents[0].unbind(dim=1)]
            return torch.cat(images).float().cpu().numpy()

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._models.device, self._models.dtype)

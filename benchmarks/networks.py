"""Networks of the published sizes without the published weights: every tensor by the weight rule of the tests, which
costs what trained ones cost. In memory for inference, and as files for what reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from whisper.model import ModelDimensions

from latentsync.checkpoint import load_codec, load_unet
from latentsync.checkpoint.codec import SD_VAE_CONFIG
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.loading import arrange, pipeline_of
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.weights import ModelSettings, WeightPaths, model_settings
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.whisper import WhisperTaps
from tests.golden import fill_by_rule
from tests.inference import tiny_weights
from tests.models.published import rule_filled

WHISPER_TINY = ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)


@dataclass(frozen=True, slots=True)
class Topology:
    """The networks of a release; ``resolution`` is the face side R in pixels."""

    resolution: int
    unet: UNetConfig
    codec: Mapping[str, Any]
    whisper: ModelDimensions


TOPOLOGIES = {
    "1.5": Topology(256, UNetConfig(), SD_VAE_CONFIG, WHISPER_TINY),
    "1.6": Topology(512, UNetConfig(), SD_VAE_CONFIG, WHISPER_TINY),
    "efficient": Topology(256, UNetConfig(motion_module_decoder_only=True), SD_VAE_CONFIG, WHISPER_TINY),
    "tiny": Topology(tiny_weights.RESOLUTION, tiny_weights.UNET, tiny_weights.VAE, tiny_weights.WHISPER),
}
BUILTIN = "builtin"
MODELS = (BUILTIN, *TOPOLOGIES)


@dataclass(frozen=True, slots=True)
class LoadedNetworks:
    """What a pipeline consists of."""

    models: LatentModels
    encoder: AudioEncoder
    settings: ModelSettings

    def pipeline(self) -> LipsyncPipeline:
        """The product's pipeline over them."""
        return pipeline_of(self.models, self.encoder, self.settings)


def load_networks(name: str, device: torch.device, dtype: torch.dtype, compiled: bool = False) -> LoadedNetworks:
    """One of ``MODELS``, arranged as for a dub: the built-in ones from their files, the others by the rule."""
    if name == BUILTIN:
        paths = WeightPaths.builtin()
        settings = model_settings(paths.unet, None)
        unet = load_unet(paths.unet, resolution=settings.resolution, device=device, dtype=dtype)
        codec = load_codec(paths.codec, device=device, dtype=dtype)
        encoder = AudioEncoder.from_file(paths.whisper, device, dtype)
        return LoadedNetworks(arrange(LatentModels(unet, codec, device, dtype), compiled), encoder, settings)
    topology = TOPOLOGIES[name]
    unet = rule_filled(lambda: UNet3D(topology.unet)).to(device, dtype)
    codec = LatentCodec(fill_by_rule(AutoencoderKL.from_config(topology.codec))).eval().to(device, dtype)
    encoder = AudioEncoder(fill_by_rule(WhisperTaps(topology.whisper)), device, dtype)
    models = arrange(LatentModels(unet, codec, device, dtype), compiled)
    return LoadedNetworks(models, encoder, ModelSettings(topology.resolution))


def write_codec(folder: Path, config: Mapping[str, Any] = SD_VAE_CONFIG) -> Path:
    """A diffusers folder."""
    fill_by_rule(AutoencoderKL.from_config(config)).save_pretrained(folder)
    return folder


def write_audio_encoder(path: Path, dims: ModelDimensions = WHISPER_TINY) -> Path:
    """A file as openai-whisper's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(dims), "model_state_dict": fill_by_rule(WhisperTaps(dims)).state_dict()}, path)
    return path

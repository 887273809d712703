"""--compile: the U-Net is one graph with and without reused features, and what comes out is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch._dynamo.testing import CompileCounterWithBackend

from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference import loading
from latentsync.inference.batching import AdaptiveBatch
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import ModelSettings, WeightPaths
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.runtime import compilation as compiling
from latentsync.types import FeatureCache, Window
from tests.golden import fill_by_rule
from tests.inference import tiny_weights
from tests.inference.plain_networks import PlainCodec


def noise_windows(count, side, frames=4):
    rng = np.random.default_rng(0)
    return [
        Window(
            number,
            rng.uniform(-1, 1, (frames, 3, side, side)).astype(np.float32),
            rng.normal(size=(frames, 50, tiny_weights.WIDTH)).astype(np.float32),
        )
        for number in range(count)
    ]


def test_the_network_is_one_graph_with_and_without_reused_features():
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    config, time = network.config, torch.tensor(10)
    sample = torch.randn(2, config.in_channels, 2, 8, 8)
    audio = torch.randn(2, 2, 50, config.cross_attention_dim)

    def steps():
        cache = FeatureCache()
        full = network(sample, time, audio, feature_cache=cache)
        cache.reuse = True
        return full, network(sample + 0.1, time, audio, feature_cache=cache)

    with torch.inference_mode():
        wanted = steps()
        network.compile(backend="eager", fullgraph=True, dynamic=False)  # raises where a graph would have to be cut
        found = steps()
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


@pytest.mark.parametrize(
    ("settings", "shapes"), [(SamplerSettings(steps=2), 1), (SamplerSettings(steps=3, cache_interval=2), 2)]
)
def test_a_run_of_any_length_meets_few_shapes(settings, shapes):
    """Whole batches, a smaller last one, single windows."""
    torch._dynamo.reset()
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    counter = CompileCounterWithBackend("eager")
    network.compile(dynamic=False, backend=counter)
    models = LatentModels(network, PlainCodec(), torch.device("cpu"), torch.float32)
    generator = LatentGenerator(models, np.ones((1, 32, 32), np.float32), settings, seed=1)
    batch = AdaptiveBatch(generator, limit=2, filled=True)
    for count in (2, 2, 1, 3):
        assert len(batch(noise_windows(count, 32))) == count
    assert counter.frame_count == shapes


def test_the_encoder_is_left_as_it_is(monkeypatch):
    compiled = []
    monkeypatch.setattr(loading, "compile_in_place", compiled.append)
    codec = LatentCodec(AutoencoderKL(**tiny_weights.VAE))
    models = LatentModels(UNet3D(tiny_weights.UNET), codec, torch.device("cpu"), torch.float32)
    assert loading.arrange(models, compiled=True).compiled
    assert compiled == [models.unet, codec.autoencoder.decoder] and models.graphs is None


@pytest.mark.slow
def test_a_compiled_pipeline_generates_the_same_faces(tmp_path, monkeypatch):
    monkeypatch.delenv(compiling.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    weights = WeightPaths.in_directory(tiny_weights.write_checkpoints(tmp_path / "checkpoints"))
    settings = ModelSettings(tiny_weights.RESOLUTION, num_frames=4)
    windows = noise_windows(2, 64)
    options = SyncOptions(SamplerSettings(steps=1, guidance_scale=1.0))
    faces = []
    for compiled in (False, True):
        pipeline = load_pipeline(weights, settings, compiled=compiled)
        faces.append(pipeline._make_generator(options, lambda count: None, None)(windows))
    assert np.abs(faces[0] - faces[1]).max() < 1e-4
    assert any((tmp_path / "cache" / "compiled").rglob("*"))  # and survives this process

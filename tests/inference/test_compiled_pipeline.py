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
from latentsync.types import Window
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


@pytest.mark.parametrize(
    ("settings", "shapes"), [(SamplerSettings(steps=2), 1), (SamplerSettings(steps=3, cache_interval=2), 2)]
)
def test_a_run_of_any_length_is_few_graphs_and_computes_the_same(settings, shapes):
    """Without and with reused features; whole batches, a smaller last one, single windows."""
    torch._dynamo.reset()
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    counter = CompileCounterWithBackend("eager")
    models = LatentModels(network, PlainCodec(), torch.device("cpu"), torch.float32)
    generator = LatentGenerator(models, np.ones((1, 32, 32), np.float32), settings, seed=1)
    batch = AdaptiveBatch(generator, limit=2, filled=True)
    wanted = batch(noise_windows(2, 32))
    network.compile(dynamic=False, backend=counter, fullgraph=True)  # raises where a graph would have to be cut
    assert all(np.array_equal(a, b) for a, b in zip(batch(noise_windows(2, 32)), wanted, strict=True))
    for count in (2, 1, 3):
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

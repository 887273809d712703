"""A dub in half precision runs, and is that in single precision up to its rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.constants import AUDIO_RATE
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import WeightPaths, model_settings
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces

VIDEO = DrawnVideo(16, 200, 200, face=90)


def dub(weights, dtype):
    """(n, H, W, 3) of the result; the networks are in ``dtype``."""
    options = SyncOptions(sampler=SamplerSettings("dpm++", steps=2, guidance_scale=1.5), check_output=False)
    pipeline = load_pipeline(weights, model_settings(weights.unet, None), "cpu", dtype)
    tracks = FaceTracks(KnownFaces(VIDEO), settings=tracking_settings(options))
    waveform = 0.3 * np.sin(np.arange(16 * AUDIO_RATE // 25) / 20).astype(np.float32)
    return np.stack([frame.pixels for frame in pipeline.sync(VIDEO, waveform, options, tracks)]).astype(float)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return WeightPaths.in_directory(write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints"))


@pytest.fixture(scope="module")
def single(weights):
    return dub(weights, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_near_single_precision(weights, single, dtype):
    half = dub(weights, dtype)
    source = np.stack([VIDEO.draw(index) for index in range(len(single))])
    dubbed = (single != source).any(axis=-1)
    assert dubbed.mean() > 0.02  # pixels of the mouth
    error = ((half - single) ** 2)[dubbed].mean()
    assert 10 * np.log10(255**2 / error) >= 45

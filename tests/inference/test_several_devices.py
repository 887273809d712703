"""One dub over several devices: the same frames, and every device has its share."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.constants import AUDIO_RATE
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import DeviceError, OutOfMemoryError
from latentsync.face.tracks import FaceTracks
from latentsync.inference import precision as precisions
from latentsync.inference.faces import tracking_settings
from latentsync.inference.fallback import PrecisionFallback, convert_all
from latentsync.inference.latent_generator import LatentGenerator
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncOptions
from latentsync.inference.precision import common_precision
from latentsync.inference.weights import ModelSettings, WeightPaths
from latentsync.runtime.device import choose_devices
from latentsync.types import Compat
from tests.inference import tiny_weights
from tests.inference.plain_networks import models_on
from tests.inference.world import DrawnVideo, KnownFaces

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return WeightPaths.in_directory(tiny_weights.write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints"))


def dubbed(weights, devices, compat=None):
    """The pixels of a short dub of five windows."""
    video = DrawnVideo(20, 160, 160, face=70)
    options = SyncOptions(SamplerSettings(steps=1), compat=compat, check_output=False)
    pipeline = load_pipeline(weights, ModelSettings(tiny_weights.RESOLUTION, num_frames=4), devices)
    waveform = np.random.default_rng(0).normal(size=int(Fraction(20, 25) * AUDIO_RATE)).astype(np.float32) / 10
    tracks = FaceTracks(KnownFaces(video), settings=tracking_settings(options))
    return [frame.pixels for frame in pipeline.sync(video, waveform, options, tracks)]


@pytest.fixture
def users(monkeypatch):
    """The networks that each batch went through."""
    used, launch = [], LatentGenerator.launch

    def noting(self, prepared):
        used.append(id(self._models))
        return launch(self, prepared)

    monkeypatch.setattr(LatentGenerator, "launch", noting)
    return used


@pytest.mark.parametrize("compat", [None, Compat.V1_5])
def test_two_devices_give_the_frames_of_one(weights, users, compat):
    alone = dubbed(weights, CPU, compat)
    users.clear()
    together = dubbed(weights, [CPU, CPU], compat)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len(users) == (7 if compat is None else 5)  # windows of 4 frames, which share one
    assert len(set(users)) == (2 if compat is None else 1)  # posterior draws follow the order of the windows


def test_a_list_of_devices_is_one_device_after_another():
    assert choose_devices("cpu, cpu") == (CPU, CPU)
    assert choose_devices("cpu") == (CPU,)
    with pytest.raises(DeviceError, match="'gpu' is no device"):
        choose_devices("cpu,gpu")


def test_devices_of_different_precisions_meet_in_single_precision(monkeypatch):
    both = [CPU, torch.device("cuda:0"), torch.device("cuda:1")]
    monkeypatch.setattr(precisions, "works_on", lambda device, dtype: device.type == "cuda")
    assert common_precision("auto", both[1:]) is torch.float16
    assert common_precision("auto", both) is torch.float32
    assert common_precision("bf16", both) is torch.bfloat16


def test_all_devices_change_their_precision_or_none(monkeypatch):
    everywhere = [models_on("cpu", torch.float16) for _ in range(2)]
    for models in everywhere:
        models.unet, models.codec = (torch.nn.Linear(2, 2).half() for _ in range(2))
    fallbacks = [PrecisionFallback(models) for models in everywhere]
    require, rooms = PrecisionFallback._require_room, []

    def second_is_full(self, dtype, task):
        rooms.append(self)
        if len(rooms) == 2:
            raise OutOfMemoryError("no room", remedy="")
        require(self, dtype, task)

    monkeypatch.setattr(PrecisionFallback, "_require_room", second_is_full)
    with pytest.raises(OutOfMemoryError):
        convert_all(fallbacks, torch.float32)
    assert [models.dtype for models in everywhere] == [torch.float16] * 2
    assert all(models.unet.weight.dtype is torch.float16 for models in everywhere)
    convert_all(fallbacks, torch.float32)
    assert all(models.codec.weight.dtype is torch.float32 for models in everywhere)


@pytest.mark.gpu
def test_all_gpus_of_the_machine_share_a_dub(weights, users):
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    alone, together = dubbed(weights, devices[0]), dubbed(weights, devices)
    difference = max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(alone, together, strict=True))
    assert difference <= 1
    assert len(set(users[-5:])) == min(5, len(devices))


@pytest.mark.gpu
def test_on_a_gpu_images_go_through_pinned_memory_beside_the_kernels():
    generator = LatentGenerator(
        models_on("cuda", torch.float16), np.ones((1, 32, 32), np.float32), SamplerSettings(), 1
    )
    sent = generator._transfer.upload([np.ones((2, 3), np.float32)] * 2, torch.float16)
    assert sent.copied is not None and sent.use().tolist() == [[1, 1, 1]] * 4
    back = generator._transfer.download(sent.tensor * 2)
    assert back.tensor.is_pinned() and back.wait().tolist() == [[2, 2, 2]] * 4

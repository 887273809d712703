"""A recorded network gives what the network gives, in as few recordings as there are shapes."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.models.unet import UNet3D
from latentsync.runtime.graphs import GraphedDenoiser, record_graph
from latentsync.types import FeatureCache
from tests.golden import fill_by_rule
from tests.inference import tiny_weights

FRAMES, SIDE = 2, 8


@pytest.fixture(scope="module")
def network():
    return fill_by_rule(UNet3D(tiny_weights.UNET)).eval()


def record_on_the_cpu(evaluate, device):
    """As CUDA does: results keep their memory, and replaying fills it anew from the inputs' memory."""
    results = evaluate()

    def replay():
        for kept, new in zip(results, evaluate(), strict=True):
            if kept is not None:
                kept.copy_(new)

    return results, replay


def denoised(denoiser, settings, windows=2, seed=0, device="cpu"):
    draws = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=draws).to(device)

    keep = torch.ones(windows, 1, FRAMES, SIDE, SIDE, device=device)
    shape = (windows, 4, FRAMES, SIDE, SIDE)
    conditioning = Conditioning(keep, normal(*shape), normal(*shape))
    audio = normal(windows, FRAMES, 50, tiny_weights.WIDTH)
    with torch.inference_mode():
        return sample(denoiser, conditioning, audio, normal(*shape), settings)


SETTINGS = [
    (SamplerSettings(steps=3), 1),
    (SamplerSettings(steps=5, cache_interval=2), 2),
    (SamplerSettings("dpm++", steps=5, cache_interval=3), 2),
    (SamplerSettings("unipc", steps=4), 1),
    (SamplerSettings(steps=3, guidance_scale=1.0), 1),
    (SamplerSettings(steps=6, cache_interval=3, guidance_band=(0, 500)), 4),  # guided and not, in full and reused
]


@pytest.mark.parametrize(("settings", "shapes"), SETTINGS)
def test_a_recorded_network_gives_the_same_in_few_recordings(network, settings, shapes):
    graphed = GraphedDenoiser(network, record_on_the_cpu)
    for seed in range(3):  # batches of one run
        assert torch.equal(denoised(graphed, settings, seed=seed), denoised(network, settings, seed=seed))
        assert graphed.shapes <= shapes
    assert graphed.shapes == shapes


def test_another_number_of_windows_is_another_recording(network):
    graphed = GraphedDenoiser(network, record_on_the_cpu)
    for windows in (2, 1, 2):
        denoised(graphed, SamplerSettings(steps=1), windows)
    assert graphed.shapes == 2


def test_a_network_in_another_precision_is_recorded_anew():
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval()
    graphed = GraphedDenoiser(network, record_on_the_cpu)
    settings = SamplerSettings(steps=1)
    denoised(graphed, settings)
    for parameter in network.parameters():
        parameter.data = parameter.data * 1.5  # elsewhere in memory, as after a conversion
    graphed.forget()
    assert torch.equal(denoised(graphed, settings), denoised(network, settings))
    assert graphed.shapes == 1


def test_nothing_to_reuse_is_an_error(network):
    with pytest.raises(ValueError, match="holds nothing"):
        GraphedDenoiser(network)(torch.zeros(1), torch.zeros(()), torch.zeros(1), feature_cache=FeatureCache(True))


@pytest.mark.gpu
@pytest.mark.parametrize(("settings", "shapes"), SETTINGS)
def test_on_a_gpu_graphs_give_what_the_network_gives(settings, shapes):
    network = fill_by_rule(UNet3D(tiny_weights.UNET)).eval().to("cuda")
    graphed = GraphedDenoiser(network, record_graph)
    for seed in range(3):
        wanted = denoised(network, settings, seed=seed, device="cuda")
        assert (denoised(graphed, settings, seed=seed, device="cuda") - wanted).abs().max() < 1e-4
    assert graphed.shapes == shapes

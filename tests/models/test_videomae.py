"""VideoMAE v2 against the names of the published file and the features of the published code."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from tests.golden import fill_by_rule, golden_arrays, relative_error, rule_input
from tests.models.networks import REDUCED_VIDEOMAE, SMALL_VIDEOMAE
from tests.models.published import on_meta, published_shapes, shapes_of


def recorded_clip(name: str) -> torch.Tensor:
    """(1, 3, 16, 224, 224) in [0, 1]"""
    frames = rule_input(name, (1, 3, 16, 256, 256))[0].transpose(0, 1)
    small = F.interpolate(frames, size=(224, 224), mode="bicubic")
    return (small / 2 + 0.5).clamp(0, 1).transpose(0, 1)[None]


@pytest.fixture(scope="module")
def reduced() -> VideoMAE:
    return fill_by_rule(VideoMAE(REDUCED_VIDEOMAE))


def test_names_and_shapes_are_the_published_ones():
    network = on_meta(lambda: VideoMAE(VideoMAEConfig()))
    assert shapes_of(network) == published_shapes("videomae_v2_vit_g")
    assert sum(p.numel() for p in network.parameters()) == 1_011_855_918


@torch.no_grad()
def test_features_and_classes_are_the_published_ones(reduced):
    expected = golden_arrays("training/trepa")
    features = reduced(recorded_clip("trepa_fake"))
    assert relative_error(features, expected["features_fake_unnormalised"]) < 1e-6
    assert relative_error(reduced.head(features), expected["logits_fake"]) < 1e-6


@torch.no_grad()
def test_a_shorter_clip_has_its_positions_interpolated_as_published(reduced):
    fake, real = (F.normalize(reduced(recorded_clip(name)[:, :, :8])) for name in ("trepa_fake", "trepa_real"))
    expected = golden_arrays("training/trepa")["trepa_loss_first8frames"].item()
    assert (fake - real).square().mean().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("frames", [2, 4, 6, 16])
@torch.no_grad()
def test_clips_of_any_length_in_whole_tokens(frames):
    network = fill_by_rule(VideoMAE(SMALL_VIDEOMAE))
    assert network(torch.rand(2, 3, frames, 32, 32)).shape == (2, 16)


@pytest.mark.parametrize("shape", [(1, 3, 5, 32, 32), (1, 3, 4, 32, 48), (1, 3, 4, 64, 64)])
def test_clips_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="32 x 32"):
        VideoMAE(SMALL_VIDEOMAE)(torch.rand(shape))


@pytest.mark.parametrize("change", [{"embed_dim": 18}, {"image_size": 225}, {"num_frames": 15}])
def test_sizes_that_do_not_divide_are_refused(change):
    with pytest.raises(ValueError, match="is not a multiple of"):
        VideoMAE(dataclasses.replace(VideoMAEConfig(depth=0), **change))


def test_positions_are_there_even_when_the_network_is_built_without_memory():
    network = on_meta(lambda: VideoMAE(SMALL_VIDEOMAE))
    assert torch.equal(network.positions, VideoMAE(SMALL_VIDEOMAE).positions)
    assert "positions" not in network.state_dict()


def test_gradient_checkpointing_gives_the_same_gradient_and_keeps_less():
    network = fill_by_rule(VideoMAE(SMALL_VIDEOMAE))

    def run() -> tuple[torch.Tensor, int]:
        kept: list[torch.Tensor] = []
        clip = torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            loss = network(clip).square().sum()
        loss.backward()
        return clip.grad, len(kept)

    plain, kept = run()
    network.enable_gradient_checkpointing()
    again, kept_now = run()
    assert relative_error(again, plain) < 1e-6
    assert kept_now < kept / 2

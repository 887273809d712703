"""What a U-Net's training may start from, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentsync.checkpoint import WeightsCard, save_weights, start_unet
from latentsync.errors import WeightsMismatchError, WeightsMissingError
from latentsync.models.unet import UNet3D, UNetConfig
from tests.golden import fill_by_rule

CONFIG = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=12)
STILL = replace(CONFIG, use_motion_module=False)
STABLE_DIFFUSION = replace(STILL, in_channels=4, cross_attention_dim=20)


def written(path, config, own=False):
    """A file of that network, as published or as this project writes it, and its tensors."""
    state = fill_by_rule(UNet3D(config)).state_dict()
    if own:
        path = path.with_suffix(".safetensors")
        save_weights(path, state, config, WeightsCard("unet"))
    else:
        torch.save({"state_dict": state}, path)
    return path, state


def test_a_release_is_taken_as_it_is(tmp_path):
    path, state = written(tmp_path / "unet.pt", CONFIG)
    started = start_unet(path, CONFIG).state_dict()
    assert all(torch.equal(started[name], tensor) for name, tensor in state.items())


def test_stable_diffusion_brings_all_but_the_ends_and_the_audio_projections(tmp_path, caplog):
    path, state = written(tmp_path / "sd.pt", STABLE_DIFFUSION)
    with caplog.at_level("INFO"):
        started = start_unet(path, CONFIG).state_dict()
    projections = {name for name in state if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    for name, tensor in state.items():
        if name.startswith("conv_in."):
            assert not started[name].any()
        elif name not in projections:
            assert torch.equal(started[name], tensor), name
    assert len(projections) == 8
    motion = [name for name in started if "motion_modules" in name]
    assert not any(started[name].any() for name in motion if ".temporal_transformer.proj_out." in name)
    assert f"{2 + len(projections) + len(motion)} tensors begin anew: conv_in.weight" in caplog.text


@pytest.mark.parametrize("own", [True, False])
def test_stage_2_starts_from_stage_1_and_computes_the_same(tmp_path, own):
    path, _ = written(tmp_path / "stage1.pt", STILL, own)
    before, after = fill_by_rule(UNet3D(STILL)), start_unet(path, CONFIG).eval()
    inputs = torch.randn(1, 13, 3, 4, 4), torch.tensor(7), torch.randn(1, 3, 5, 12)
    with torch.no_grad():
        assert torch.allclose(before(*inputs), after(*inputs), atol=1e-5)


def test_motion_modules_that_the_network_lacks_are_left_out_with_a_warning(tmp_path, caplog):
    path, state = written(tmp_path / "unet.pt", CONFIG)
    in_decoder = start_unet(path, replace(CONFIG, motion_module_decoder_only=True)).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in in_decoder.items())
    assert "motion modules are left out: down_blocks.0.motion_modules.0." in caplog.text


@pytest.mark.parametrize(
    ("own", "change", "named"),
    [
        (False, {"block_out_channels": (32, 64)}, "down_blocks.1"),
        (False, {"layers_per_block": 2}, "lacks"),
        (True, {"num_attention_heads": 4}, "num_attention_heads 8, the configuration 4"),
    ],
)
def test_anything_else_that_differs_is_refused(tmp_path, own, change, named):
    path, _ = written(tmp_path / "unet.pt", CONFIG, own)
    with pytest.raises(WeightsMismatchError, match=named):
        start_unet(path, replace(CONFIG, **change))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissingError, match="nowhere.pt"):
        start_unet(tmp_path / "nowhere.pt", CONFIG)

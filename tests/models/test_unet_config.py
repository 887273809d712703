from __future__ import annotations

import pytest

from latentsync.errors import ConfigError
from latentsync.models.unet import UNetConfig
from tests.golden import golden_json

PUBLISHED = ["stage1", "stage2", "stage2_efficient", "v1_second_stage"]


@pytest.mark.parametrize("name", PUBLISHED[:3])
def test_the_block_of_release_1_6_survives_a_round_trip(name):
    block = golden_json(f"unet/{name}")
    assert UNetConfig.from_dict(block).to_dict() == block


def test_the_block_of_release_1_0_is_read_with_its_own_keys():
    config = UNetConfig.from_dict(golden_json("unet/v1_second_stage"))
    assert not config.use_motion_module
    assert config.max_frames == 16
    assert UNetConfig.from_dict(config.to_dict()) == config


def test_the_defaults_are_the_network_of_release_1_6():
    block = golden_json("unet/stage2") | {"block_out_channels": [320, 640, 1280, 1280]}
    assert UNetConfig.from_dict(block) == UNetConfig()


def test_the_count_of_heads_is_read_from_the_key_that_calls_it_a_width():
    assert UNetConfig.from_dict(golden_json("unet/stage2") | {"attention_head_dim": 4}).num_attention_heads == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dual_cross_attention": False}, "dual_cross_attention"),
        ({"act_fn": "gelu"}, "act_fn"),
        ({"sample_size": 32}, "sample_size"),
        ({"freq_shift": False}, "freq_shift"),
        ({"unet_use_temporal_attention": True}, "unet_use_temporal_attention"),
        ({"down_block_types": ["CrossAttnDownBlock3D"] * 4}, "down_block_types"),
        ({"up_block_types": ["UpBlock3D"] * 4}, "up_block_types"),
        ({"motion_module_kwargs": {"zero_initialize": False}}, "motion_module_kwargs.zero_initialize"),
        ({"motion_module_kwargs": {"frames": 16}}, "motion_module_kwargs.frames"),
        ({"block_out_channels": 320}, "block_out_channels"),
        ({"block_out_channels": [32, 64, 48, 64]}, "48"),
        ({"block_out_channels": [32, "64", 64, 64]}, "block_out_channels"),
        ({"block_out_channels": [32] * 5}, "levels"),
        ({"in_channels": 0}, "in_channels"),
        ({"layers_per_block": True}, "layers_per_block"),
        ({"norm_eps": "small"}, "norm_eps"),
        ({"use_motion_module": "yes"}, "use_motion_module"),
    ],
)
def test_what_no_release_knows_is_refused_by_name(change, named):
    with pytest.raises(ConfigError, match=named):
        UNetConfig.from_dict(golden_json("unet/stage2") | change)


@pytest.mark.parametrize("key", ["in_channels", "use_motion_module", "block_out_channels"])
def test_a_missing_key_is_named(key):
    block = golden_json("unet/stage2")
    del block[key]
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        UNetConfig.from_dict(block)

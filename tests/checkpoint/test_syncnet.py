"""Sync-network files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import load_syncnet, save_weights
from latentsync.checkpoint.card import WeightsCard
from latentsync.config import read_yaml
from latentsync.errors import ConfigError, WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from tests.checkpoint.material import LFS_POINTER, full_size, save
from tests.golden import fill_by_rule

CONFIGS = Path(__file__).parents[2] / "configs" / "syncnet"
SMALL = SyncNetConfig.from_dict(
    {
        "audio_encoder": {"in_channels": 1, "block_out_channels": [32], "downsample_factors": [2], "attn_blocks": [1]},
        "visual_encoder": {"in_channels": 6, "block_out_channels": [32], "downsample_factors": [[1, 2]]},
    }
)


def test_the_released_file_loads_with_its_training_curves(tmp_path: Path) -> None:
    path = save(
        tmp_path / "stable_syncnet.pt", full_size("syncnet_head_16_pixel_attn"), global_step=1, train_loss_list=[0.69]
    )
    config = SyncNetConfig.from_dict(read_yaml(CONFIGS / "syncnet_16_pixel_attn.yaml")["model"])
    network = load_syncnet(path, config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 401_306_080
    assert not network.training


def test_the_sync_network_of_another_release(tmp_path: Path) -> None:
    path = save(tmp_path / "latentsync_syncnet.pt", full_size("syncnet_head_16_pixel"))
    config = SyncNetConfig.from_dict(read_yaml(CONFIGS / "syncnet_16_pixel_attn.yaml")["model"])
    with pytest.raises(WeightsMismatchError, match="lacks .* of the 266 tensors of the sync network"):
        load_syncnet(path, config)


def test_our_own_file_needs_no_configuration(tmp_path: Path) -> None:
    network = fill_by_rule(StableSyncNet(SMALL))
    path = tmp_path / "sync.safetensors"
    save_weights(path, network.state_dict(), SMALL, WeightsCard("syncnet"))
    loaded = load_syncnet(path)
    assert loaded.config == SMALL
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    other = SyncNetConfig(SMALL.audio_encoder, SMALL.audio_encoder)
    with pytest.raises(WeightsMismatchError, match="asked for was"):
        load_syncnet(path, other)


def test_a_published_file_does_not_say_what_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "stable_syncnet.pt", fill_by_rule(StableSyncNet(SMALL)).state_dict())
    with pytest.raises(ConfigError, match="does not say which sync network"):
        load_syncnet(path)


def test_extra_tensors_are_refused(tmp_path: Path) -> None:
    state = StableSyncNet(SMALL).state_dict() | {"more": torch.zeros(1)}
    with pytest.raises(WeightsMismatchError, match="no place for: more"):
        load_syncnet(save(tmp_path / "a.pt", state), SMALL)


def test_missing_and_pointer(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        load_syncnet(tmp_path / "stable_syncnet.pt", SMALL)
    (tmp_path / "stable_syncnet.pt").write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match="Git-LFS"):
        load_syncnet(tmp_path / "stable_syncnet.pt", SMALL)

"""Files of the video encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import load_videomae
from latentsync.errors import WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from tests.checkpoint.material import LFS_POINTER, full_size
from tests.golden import fill_by_rule

SMALL = VideoMAEConfig(image_size=28, num_frames=4, embed_dim=16, depth=1, num_heads=2, mlp_dim=32, num_classes=3)


@pytest.mark.parametrize("level", [None, "model", "module"])
def test_the_published_layouts_give_the_same_network(tmp_path: Path, level: str | None) -> None:
    network = fill_by_rule(VideoMAE(SMALL))
    state = network.state_dict()
    torch.save(state if level is None else {level: state, "epoch": 35}, tmp_path / "vit.pth")
    loaded = load_videomae(tmp_path / "vit.pth", SMALL)
    clip = torch.rand(1, 3, 4, 28, 28)
    assert torch.equal(loaded(clip), network(clip))
    assert not loaded.training


def test_the_published_network_is_the_default(tmp_path: Path) -> None:
    torch.save({"module": full_size("videomae_v2_vit_g")}, tmp_path / "vit.pth")
    loaded = load_videomae(tmp_path / "vit.pth", device="meta")  # the file is small, the network would take 4 GiB
    assert sum(parameter.numel() for parameter in loaded.parameters()) == 1_011_855_918


def test_half_precision_reaches_the_positions(tmp_path: Path) -> None:
    torch.save(VideoMAE(SMALL).state_dict(), tmp_path / "vit.pth")
    assert load_videomae(tmp_path / "vit.pth", SMALL, dtype=torch.bfloat16).positions.dtype is torch.bfloat16


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"
    state = VideoMAE(SMALL).state_dict()
    torch.save({name: tensor for name, tensor in state.items() if "q_bias" not in name}, path)
    with pytest.raises(WeightsMismatchError, match="lacks 1 of .* blocks.0.attn.q_bias"):
        load_videomae(path, SMALL)
    torch.save(state | {"decoder.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatchError, match="no place for: decoder.weight"):
        load_videomae(path, SMALL)
    torch.save(state, path)
    with pytest.raises(WeightsMismatchError, match="lacks"):
        load_videomae(path)


def test_missing_and_pointer(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        load_videomae(tmp_path / "vit.pth")
    (tmp_path / "vit.pth").write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match="Git-LFS"):
        load_videomae(tmp_path / "vit.pth")

"""U-Net files of every release: names, inferred architecture, refusals; what a training may start from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import load_unet, load_unet_weights, save_weights, start_unet
from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.unet import infer_unet_config, read_unet
from latentsync.errors import ConfigError, WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from latentsync.models.unet import UNet3D, UNetConfig
from tests.checkpoint.material import (
    AUDIO_SHAPE,
    LFS_POINTER,
    NOISE_SHAPE,
    SMALL,
    WEB_PAGE,
    as_release_1_0,
    full_size,
    save,
    small_unet,
)
from tests.golden import fill_by_rule, rule_input
from tests.models.published import published_shapes

FULL = UNetConfig()
CONFIG = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=12)
STILL = replace(CONFIG, use_motion_module=False)
STABLE_DIFFUSION = replace(STILL, in_channels=4, cross_attention_dim=20)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("unet_head_stage1", replace(FULL, use_motion_module=False)),
        ("unet_head_stage2", FULL),
        ("unet_head_stage2_efficient", replace(FULL, motion_module_decoder_only=True)),
        ("unet_v1_second_stage", replace(FULL, use_motion_module=False)),
    ],
)
def test_every_published_table_loads(tmp_path: Path, name: str, config: UNetConfig) -> None:
    path = save(tmp_path / "latentsync_unet.pt", full_size(name), global_step=20_000)
    content = path.read_bytes()
    found, state = load_unet_weights(path)
    assert found == config
    expected = "unet_head_stage1" if name.startswith("unet_v1") else name
    assert {key: list(tensor.shape) for key, tensor in state.items()} == published_shapes(expected)
    assert read_unet(path).global_step == 20_000
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, use_motion_module=False, max_frames=24),
        replace(SMALL, motion_module_decoder_only=True, max_frames=5),
        replace(SMALL, block_out_channels=(32, 32, 64, 96), layers_per_block=2, cross_attention_dim=48),
        replace(SMALL, in_channels=9, out_channels=3),
    ],
)
def test_the_architecture_is_read_off_the_tensors(config: UNetConfig) -> None:
    with torch.device("meta"):
        state = UNet3D(config).state_dict()
    assert infer_unet_config(state) == config


def test_a_bare_table_and_a_distributed_wrapper(tmp_path: Path) -> None:
    """Release 1.0 and 1.5 accepted a table without the level above it; ``module.`` is what DDP puts before names."""
    state = small_unet().state_dict()
    torch.save(state, tmp_path / "bare.pt")
    save(tmp_path / "ddp.pt", {f"module.{name}": tensor for name, tensor in state.items()})
    for name in ("bare.pt", "ddp.pt"):
        config, found = load_unet_weights(tmp_path / name)
        assert config == SMALL
        assert all(torch.equal(found[key], state[key]) for key in state)


def test_release_1_0_gives_the_same_network(tmp_path: Path) -> None:
    plain = replace(SMALL, use_motion_module=False, max_frames=24)
    unet = small_unet(plain)
    renamed = as_release_1_0(unet.state_dict())
    assert sum(".audio_cross_attn." in name for name in renamed) == 7 * 4  # 4 transformers: 2 of norm, 5 of attention
    loaded = load_unet(save(tmp_path / "old.pt", renamed))
    sample, audio = rule_input("sample", NOISE_SHAPE), rule_input("audio", AUDIO_SHAPE)
    with torch.no_grad():
        assert torch.equal(loaded(sample, torch.tensor(5), audio), unet(sample, torch.tensor(5), audio))
    assert not loaded.training


def test_release_1_0_may_bring_tensors_that_nothing_uses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = replace(SMALL, use_motion_module=False, max_frames=24)
    state = small_unet(plain).state_dict()
    audio_key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    extra = {"text_projection.weight": torch.zeros(3, 3), audio_key: torch.zeros(64, 768)}
    path = save(tmp_path / "old.pt", as_release_1_0(state) | extra)
    with caplog.at_level(logging.WARNING):
        weights = read_unet(path)
    assert set(weights.extras) == set(extra)
    assert all(name in caplog.text for name in extra)
    assert torch.equal(weights.state_dict[audio_key], state[audio_key])
    assert weights.state_dict.keys() == state.keys()


def test_other_releases_may_not(tmp_path: Path) -> None:
    state = small_unet().state_dict() | {"text_projection.weight": torch.zeros(3, 3)}
    with pytest.raises(WeightsMismatchError, match="no place for: text_projection.weight"):
        load_unet_weights(save(tmp_path / "new.pt", state))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = small_unet().state_dict()
    del state["up_blocks.0.resnets.0.conv1.bias"], state["conv_out.bias"]
    expected = rf"part.pt lacks 2 of the {len(state) + 2} tensors of the U-Net.*: .*up_blocks.0.resnets.0.conv1.bias"
    with pytest.raises(WeightsMismatchError, match=expected):
        load_unet_weights(save(tmp_path / "part.pt", state))


def test_motion_modules_without_their_positions_are_no_stage_1_file(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in small_unet().state_dict().items() if not name.endswith(".pe")}
    with pytest.raises(WeightsMismatchError, match="pos_encoder.pe"):
        load_unet_weights(save(tmp_path / "part.pt", state))


def test_a_wrong_shape_names_both_sides(tmp_path: Path) -> None:
    state = small_unet().state_dict()
    state["time_embedding.linear_1.weight"] = torch.zeros(3, 4)
    with pytest.raises(WeightsMismatchError, match=r"linear_1.weight is \(3, 4\) in the file and \(128, 32\) in the"):
        load_unet_weights(save(tmp_path / "wrong.pt", state))


def test_stable_diffusion_is_not_taken_for_lip_sync(tmp_path: Path) -> None:
    """A U-Net of 4 input channels loads as a table (training may start from it) but not as a denoiser."""
    path = save(tmp_path / "sd.pt", small_unet(replace(SMALL, in_channels=4, use_motion_module=False)).state_dict())
    assert load_unet_weights(path)[0].in_channels == 4
    with pytest.raises(WeightsMismatchError, match="4 input and 4 output channels"):
        load_unet(path)


@pytest.mark.parametrize("table", [{"conv_in.weight": torch.zeros(3)}, {"fc.weight": torch.zeros(3, 3)}])
def test_another_network_is_no_unet(tmp_path: Path, table: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsMismatchError, match="is no U-Net"):
        load_unet_weights(save(tmp_path / "other.pt", table))


def test_entries_that_are_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsCorruptError, match="entry 'epoch'"):
        load_unet_weights(save(tmp_path / "odd.pt", small_unet().state_dict() | {"epoch": 3}))


@pytest.mark.parametrize("content", [None, b"", LFS_POINTER, WEB_PAGE])
def test_nothing_is_made_up_for_a_file_that_is_not_there(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "latentsync_unet.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsMissingError if content is None else WeightsCorruptError, match="latentsync_unet.pt"):
        load_unet(path, resolution=256)


def test_weights_of_another_resolution_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "latentsync_unet.pt", small_unet().state_dict())
    write_sidecar(path, WeightsCard(kind="unet", release="1.5", resolution=256))
    assert isinstance(load_unet(path, resolution=256), UNet3D)
    with pytest.raises(WeightsMismatchError, match="release 1.5.*256 x 256.*512 x 512"):
        load_unet(path, resolution=512)


def test_an_unknown_resolution_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "latentsync_unet.pt", small_unet().state_dict())
    with caplog.at_level(logging.WARNING):
        load_unet(path, resolution=512)
    assert "do not say which resolution" in caplog.text


def test_half_precision(tmp_path: Path) -> None:
    unet = load_unet(save(tmp_path / "a.pt", small_unet().state_dict()), dtype=torch.float16)
    assert {tensor.dtype for tensor in unet.state_dict().values()} == {torch.float16}
    assert not any(tensor.is_meta for tensor in unet.state_dict().values())


def test_a_self_description_that_makes_no_sense(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "own.safetensors"
    save_file(small_unet().state_dict(), path, metadata={"latentsync.config": '{"in_channels": 13}'})
    with pytest.raises(WeightsMismatchError, match="describes a network that does not exist") as error:
        load_unet_weights(path)
    assert isinstance(error.value.__cause__, ConfigError)
    save_file(small_unet().state_dict(), path, metadata={"latentsync.config": "not json"})
    with pytest.raises(WeightsCorruptError, match="not JSON"):
        load_unet_weights(path)


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

"""The U-Net against the outputs of the published code, which are kept at every second row and column."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from latentsync.models.motion import SinusoidalPositions
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.types import FeatureCache
from tests.golden import fill_by_rule, golden_arrays, golden_json, relative_error, rule_input, rule_tensor
from tests.models.published import on_meta, published_shapes, rule_filled, shapes_of

FULL_WIDTHS = [320, 640, 1280, 1280]
TOY = UNetConfig(block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=12, norm_num_groups=8)


def release_1_0_name(name: str) -> str:
    audio = "transformer_blocks.0.audio_cross_attn."
    name = name.replace("transformer_blocks.0.attn2.", f"{audio}attn.")
    return name.replace("transformer_blocks.0.norm2.", f"{audio}norm.")


def rule_with_tables(name: str, shape: list[int]) -> torch.Tensor:
    return SinusoidalPositions(shape[2], shape[1]).pe if name.endswith(".pe") else rule_tensor(name, shape)


@lru_cache(maxsize=1)
def published_unet(name: str) -> UNet3D:
    config = UNetConfig.from_dict(golden_json(f"unet/{name}"))
    if name == "v1_second_stage":
        return rule_filled(lambda: UNet3D(config), lambda name, shape: rule_tensor(release_1_0_name(name), shape))
    return rule_filled(lambda: UNet3D(config), rule_with_tables)


def toy_unet() -> UNet3D:
    return fill_by_rule(UNet3D(TOY))


def toy_inputs(batch: int = 2, frames: int = 3, side: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sample = rule_input("toy_sample", (batch, 13, frames, side, side))
    return sample, torch.tensor(500), rule_input("toy_audio", (batch, frames, 5, 12))


def assert_as_published(output: torch.Tensor, expected: np.ndarray) -> None:
    assert relative_error(output[..., ::2, ::2], expected) < 1e-5


# -- numbers of the published code ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage2_efficient", "v1_second_stage"])
@torch.no_grad()
def test_outputs_are_the_published_ones(name):
    unet, expected = published_unet(name), golden_arrays(f"unet/{name}")
    sample, audio = rule_input("unet_sample", (2, 13, 16, 16, 16)), rule_input("unet_audio", (2, 16, 50, 384))
    silent_first = audio.clone()
    silent_first[0] = 0
    t = torch.tensor
    assert_as_published(unet(sample, t(741), silent_first), expected["out_t741_nullaudio0"])
    assert_as_published(unet(sample, t(42), silent_first), expected["out_t42_nullaudio0"])
    assert_as_published(unet(sample, t([741, 42]), audio), expected["out_tbatch"])
    assert_as_published(unet(sample, t(741), None), expected["out_noaudio"])
    assert_as_published(unet(sample[:, :, :5], t(741), silent_first[:, :5]), expected["out_first5frames"])


@pytest.mark.parametrize("name", ["v1_second_stage", "stage2"])
@torch.no_grad()
def test_latents_whose_size_is_not_a_multiple_of_eight(name):
    sample, audio = rule_input("unet_sample_odd", (1, 13, 4, 12, 12)), rule_input("unet_audio_odd", (1, 4, 50, 384))
    output = published_unet(name)(sample, torch.tensor(741), audio)
    assert_as_published(output, golden_arrays(f"unet/{name}")["out_odd"])


@pytest.mark.slow
@torch.no_grad()
def test_full_size_output_is_the_published_one():
    unet = rule_filled(lambda: UNet3D(UNetConfig()), rule_with_tables)
    sample, audio = rule_input("full_unet_sample", (2, 13, 16, 16, 16)), rule_input("full_unet_audio", (2, 16, 50, 384))
    audio[0] = 0
    output = unet(sample, torch.tensor(741), audio)
    assert relative_error(output, golden_arrays("unet/full_stage2_forward")["out"]) < 1e-5


# -- names, shapes and sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "block", "parameters"),
    [
        ("stage1", "stage1", 849_962_244),
        ("stage1_512", "stage1", 849_962_244),
        ("stage2", "stage2", 1_267_099_844),
        ("stage2_512", "stage2", 1_267_099_844),
        ("stage2_efficient", "stage2_efficient", 1_100_244_804),
    ],
)
def test_full_size_names_and_shapes_are_the_published_ones(name, block, parameters):
    config = UNetConfig.from_dict(golden_json(f"unet/{block}") | {"block_out_channels": FULL_WIDTHS})
    unet = on_meta(lambda: UNet3D(config))
    assert shapes_of(unet) == published_shapes(f"unet_head_{name}")
    assert sum(p.numel() for p in unet.parameters()) == parameters


def test_names_of_release_1_0_differ_only_in_the_audio_attention():
    unet = on_meta(lambda: UNet3D(UNetConfig(use_motion_module=False)))
    renamed = {release_1_0_name(name): shape for name, shape in shapes_of(unet).items()}
    assert renamed == published_shapes("unet_v1_second_stage")


def test_parts_have_the_published_sizes():
    unet = on_meta(lambda: UNet3D(UNetConfig()))
    sizes = dict.fromkeys(("motion_modules.", "attn2.", "attentions."), 0)
    for name, parameter in unet.named_parameters():
        for part in sizes:
            sizes[part] += parameter.numel() * (part in name)
    assert sizes == {"motion_modules.": 417_137_600, "attn2.": 34_377_920, "attentions.": 257_654_720}


# -- behaviour --------------------------------------------------------------------------------------------------------


def test_a_new_network_predicts_nothing_and_its_motion_modules_change_nothing():
    torch.manual_seed(0)
    unet = UNet3D(TOY)
    assert not unet(*toy_inputs()).any()
    module = unet.up_blocks[0].motion_modules[0]
    hidden = torch.randn(6, 32, 4, 4)
    assert torch.equal(module(hidden, 3), hidden)


@torch.no_grad()
def test_audio_may_come_with_frames_folded():
    unet, (sample, timestep, audio) = toy_unet(), toy_inputs()
    assert torch.equal(unet(sample, timestep, audio.flatten(0, 1)), unet(sample, timestep, audio))


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other():
    unet, (sample, timestep, audio) = toy_unet(), toy_inputs()
    alone = unet(sample[1:], timestep, audio[1:])
    torch.testing.assert_close(unet(sample, timestep, audio)[1:], alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_channels_last_weights_do_not_change_the_result():
    unet, inputs = toy_unet(), toy_inputs()
    expected = unet(*inputs)
    torch.testing.assert_close(unet.to(memory_format=torch.channels_last)(*inputs), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bfloat16_weights_and_autocast_stay_near_full_precision():
    unet, inputs = toy_unet(), toy_inputs()
    expected = unet(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert relative_error(unet(*inputs).float(), expected) < 0.05
    sample, timestep, audio = inputs
    output = unet.to(torch.bfloat16)(sample.bfloat16(), timestep, audio.bfloat16())
    assert output.dtype == torch.bfloat16
    assert relative_error(output.float(), expected) < 0.05


@torch.no_grad()
def test_many_sequences_are_attended_to_in_parts(monkeypatch):
    unet, inputs = toy_unet(), toy_inputs()
    expected = unet(*inputs)
    monkeypatch.setattr("latentsync.models.motion._MAX_SEQUENCES", 50)
    torch.testing.assert_close(unet(*inputs), expected, rtol=0, atol=1e-5)


def test_more_frames_than_positions_are_refused():
    sample, timestep, audio = toy_inputs(batch=1, frames=25)
    with pytest.raises(ValueError, match="25 frames.*24 positions"):
        toy_unet()(sample, timestep, audio)


def test_without_motion_modules_any_number_of_frames_goes():
    unet = UNet3D(replace(TOY, use_motion_module=False))
    sample, timestep, audio = toy_inputs(batch=1, frames=25)
    assert unet(sample, timestep, audio).shape == (1, 4, 25, 8, 8)


@torch.no_grad()
def test_reusing_the_features_of_the_same_input_gives_the_same_output():
    unet, cache = published_unet("stage2"), FeatureCache()
    inputs = (rule_input("s", (1, 13, 4, 8, 8)), torch.tensor(7), rule_input("a", (1, 4, 50, 384)))
    plain = unet(*inputs)
    assert torch.equal(unet(*inputs, feature_cache=cache), plain)
    cache.reuse = True
    assert torch.equal(unet(*inputs, feature_cache=cache), plain)


@torch.no_grad()
def test_reuse_runs_only_the_outermost_layer():
    unet, inputs, cache = toy_unet(), toy_inputs(), FeatureCache()
    unet(*inputs, feature_cache=cache)
    ran = []
    for name, module in unet.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    cache.reuse = True
    stored = cache.hidden.clone()
    unet(*inputs, feature_cache=cache)
    outermost = ("conv_in", "time_", "conv_norm_out", "conv_out")
    last = tuple(f"up_blocks.1.{part}.1." for part in ("resnets", "attentions", "motion_modules"))
    assert ran
    assert [name for name in ran if not name.startswith(outermost + last)] == []
    assert torch.equal(cache.hidden, stored)


@torch.no_grad()
def test_a_guided_call_gives_both_halves_in_full_and_reused():
    unet, (sample, level, audio), apart, together = toy_unet(), toy_inputs(), FeatureCache(), FeatureCache()
    halves = torch.cat([sample, sample]), level, torch.cat([torch.zeros_like(audio), audio])
    for reuse in (False, True):
        apart.reuse = together.reuse = reuse
        expected = unet(*halves, feature_cache=apart)
        assert relative_error(unet(sample, level, audio, feature_cache=together, guided=True), expected) < 1e-6
        assert relative_error(expected[2:], expected[:2]) > 1e-3  # the audio does change something
    with pytest.raises(ValueError, match="no audio"):
        unet(sample, level, None, guided=True)


@torch.no_grad()
def test_what_the_halves_share_is_computed_once():
    unet, inputs, images = toy_unet(), toy_inputs(), {}
    for name, module in unet.named_modules():
        if name.startswith(("conv", "down_blocks.0.resnets", "down_blocks.0.att", "up_blocks.1.att")):
            module.register_forward_hook(lambda _, inputs, output, name=name: images.update({name: len(output)}))
    unet(*inputs, guided=True)
    first = "down_blocks.0.attentions.0.transformer_blocks.0"
    frames = len(inputs[0]) * inputs[0].shape[2]
    assert images["conv_in"] == images["down_blocks.0.resnets.0"] == images[f"{first}.attn1"] == frames
    assert images[f"{first}.ff"] == images["conv_out"] == 2 * frames
    assert images["up_blocks.1.attentions.1.transformer_blocks.0.attn2"] == frames  # silence needs no attention


def test_reuse_without_features_is_refused():
    with pytest.raises(ValueError, match="holds nothing"):
        toy_unet()(*toy_inputs(), feature_cache=FeatureCache(reuse=True))


def test_gradient_checkpointing_gives_the_same_gradients():
    inputs, gradients, saved = toy_inputs(), [], []
    for checkpointing in (False, True):
        unet = toy_unet()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            loss = unet(*inputs).square().mean()
        loss.backward()
        gradients.append({name: p.grad for name, p in unet.named_parameters()})
        saved.append(sum(kept))
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)
    assert saved[1] < saved[0] / 3

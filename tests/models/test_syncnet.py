"""The sync network at full size against the embeddings of the published code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from latentsync.errors import ConfigError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig, select_latent_input, select_visual_input
from tests.golden import golden_arrays, relative_error, rule_input
from tests.models.networks import AUDIO_16, BLOCKS, VISUAL_16, rule_syncnet
from tests.models.published import on_meta, published_shapes, shapes_of

INPUTS = {  # visual, mel
    "16_latent": ((2, 64, 32, 32), (2, 1, 80, 52)),
    "16_pixel": ((2, 48, 128, 256), (2, 1, 80, 52)),
    "16_pixel_attn": ((2, 48, 128, 256), (2, 1, 80, 52)),
    "25_pixel": ((2, 75, 128, 256), (2, 1, 80, 80)),
}
PARAMETERS = {
    "16_latent": 65_544_416,
    "16_pixel": 371_766_496,
    "16_pixel_attn": 401_306_080,
    "25_pixel": 103_742_144,
}


@pytest.fixture(scope="module")
def syncnet_with_attention() -> StableSyncNet:
    return rule_syncnet("16_pixel_attn")


@torch.no_grad()
def assert_embeddings(name: str, syncnet: StableSyncNet) -> None:
    visual_shape, mel_shape = INPUTS[name]
    inputs = rule_input(f"syncnet_{name}_vision", visual_shape), rule_input(f"syncnet_{name}_audio", mel_shape)
    visual, audio = syncnet(*inputs)
    expected = golden_arrays(f"syncnet/{name}")
    assert relative_error(visual, expected["vision_embeds"]) < 1e-5
    assert relative_error(audio, expected["audio_embeds"]) < 1e-5


@pytest.mark.parametrize("name", ["16_latent", "25_pixel", pytest.param("16_pixel", marks=pytest.mark.slow)])
def test_embeddings_are_the_published_ones(name):
    assert_embeddings(name, rule_syncnet(name))


def test_embeddings_with_attention_are_the_published_ones(syncnet_with_attention):
    assert_embeddings("16_pixel_attn", syncnet_with_attention)


@pytest.mark.parametrize("side", [256, 512])
@torch.no_grad()
def test_embeddings_of_generated_faces_are_the_published_ones(syncnet_with_attention, side):
    pixels = rule_input(f"unet_sync_pred_pixels_{side}", (1, 16, 3, side, side))
    mel = rule_input("unet_sync_mel", (1, 1, 80, 52))
    visual, audio = syncnet_with_attention(select_visual_input(pixels), mel)
    expected = golden_arrays("syncnet/16_pixel_attn")
    assert relative_error(visual, expected[f"unet_sync_vision_{side}"]) < 1e-5
    assert relative_error(audio, expected[f"unet_sync_audio_{side}"]) < 1e-5


@pytest.mark.parametrize("name", BLOCKS)
def test_names_and_shapes_are_the_published_ones(name):
    syncnet = on_meta(lambda: StableSyncNet(SyncNetConfig.from_dict(BLOCKS[name])))
    assert shapes_of(syncnet) == published_shapes(f"syncnet_head_{name}")
    assert sum(p.numel() for p in syncnet.parameters()) == PARAMETERS[name]


def test_the_visual_input_is_the_lower_half_with_frames_folded_in_order():
    pixels = rule_input("faces", (2, 3, 3, 256, 256))
    selected = select_visual_input(pixels)
    assert selected.shape == (2, 9, 128, 256)
    assert torch.equal(selected[1, 3:6], pixels[1, 1, :, 128:])


def test_the_face_is_resized_before_it_is_cut():
    pixels = rule_input("faces", (1, 1, 3, 64, 64))
    whole = F.interpolate(pixels[0], size=(256, 256), mode="bicubic")
    assert torch.equal(select_visual_input(pixels)[0], whole[0, :, 128:])


def test_the_visual_input_of_a_smaller_network_that_sees_whole_faces():
    pixels = rule_input("faces", (1, 2, 3, 128, 128))
    assert torch.equal(select_visual_input(pixels, side=128, lower_half=False)[0, 3:], pixels[0, 1])


def test_a_latent_networks_input_is_the_lower_half_of_the_latents_or_all_of_them():
    latents = rule_input("latents", (2, 3, 8, 16, 16))
    assert torch.equal(select_latent_input(latents), latents.flatten(1, 2))
    lower = select_latent_input(latents, lower_half=True)
    assert lower.shape == (2, 24, 8, 16)
    assert torch.equal(lower[1, 8:16], latents[1, 1, :, 8:])


@pytest.mark.parametrize("name", BLOCKS)
def test_the_configuration_survives_a_round_trip(name):
    config = SyncNetConfig.from_dict(BLOCKS[name])
    assert SyncNetConfig.from_dict(config.to_dict()) == config
    assert config.visual_encoder.attn_blocks[4:6] == (name == "16_pixel_attn",) * 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"attention": [1]}, "attention .*not known"),
        ({"attn_blocks": [0, 1]}, "differ in length"),
        ({"block_out_channels": [32, 64, 128, 256, 512, 1000]}, "1000"),
        ({"downsample_factors": [[2, 1, 2], 2, 2, 2, 2, 2]}, "downsample_factors"),
        ({"block_out_channels": 32}, "block_out_channels"),
        ({"in_channels": "one"}, "in_channels"),
    ],
)
def test_what_fits_no_network_is_refused_by_name(change, named):
    block = dict(BLOCKS["16_latent"])
    block["audio_encoder"] = block["audio_encoder"] | change
    with pytest.raises(ConfigError, match=named):
        SyncNetConfig.from_dict(block)


def test_a_missing_key_and_a_missing_tower_are_named():
    tower = {key: value for key, value in AUDIO_16.items() if key != "in_channels"}
    with pytest.raises(ConfigError, match="in_channels .*missing"):
        SyncNetConfig.from_dict({"audio_encoder": tower, "visual_encoder": VISUAL_16})
    with pytest.raises(ConfigError, match="visual_encoder"):
        SyncNetConfig.from_dict({"audio_encoder": AUDIO_16})


@pytest.mark.parametrize("name", BLOCKS)
def test_the_width_of_the_embeddings_is_known_without_the_network(name: str) -> None:
    config = SyncNetConfig.from_dict(BLOCKS[name])
    (_, _, *visual), (_, _, *mel) = INPUTS[name]
    with torch.device("meta"):
        network = StableSyncNet(config)
        widths = [x.shape[1] for x in network(torch.empty(INPUTS[name][0]), torch.empty(INPUTS[name][1]))]
    assert [config.visual_encoder.embedding_width(*visual), config.audio_encoder.embedding_width(*mel)] == widths

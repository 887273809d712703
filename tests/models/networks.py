"""Networks that several tests build: small ones with the rule's weights, and the published sync networks."""

from __future__ import annotations

from diffusers import AutoencoderKL

from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.videomae import VideoMAEConfig
from tests.golden import fill_by_rule, golden_json
from tests.models.published import rule_filled

# The network of the recorded numbers; its MLP is int(64 * 48 / 11) wide.
REDUCED_VIDEOMAE = VideoMAEConfig(embed_dim=64, depth=2, num_heads=4, mlp_dim=279)
SMALL_VIDEOMAE = VideoMAEConfig(
    image_size=32, patch_size=16, num_frames=4, embed_dim=16, depth=2, num_heads=2, mlp_dim=32, num_classes=3
)
SMALL_SYNCNET = {
    "audio_encoder": {"in_channels": 1, "block_out_channels": [32, 64], "downsample_factors": [[16, 16], [5, 4]]},
    "visual_encoder": {"in_channels": 12, "block_out_channels": [32, 64], "downsample_factors": [4, 4]},
}
# The `model:` blocks of the published sync networks.
AUDIO_16 = {
    "in_channels": 1,
    "block_out_channels": [32, 64, 128, 256, 512, 1024, 2048],
    "downsample_factors": [[2, 1], 2, 2, 1, 2, 2, [2, 3]],
    "attn_blocks": [0, 0, 0, 0, 0, 0, 0],
    "dropout": 0.0,
}
VISUAL_16 = {
    "in_channels": 48,
    "block_out_channels": [64, 128, 256, 256, 512, 1024, 2048, 2048],
    "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2],
    "attn_blocks": [0, 0, 0, 0, 0, 0, 0, 0],
    "dropout": 0.0,
}
BLOCKS = {
    "16_latent": {
        "audio_encoder": {
            "in_channels": 1,
            "block_out_channels": [32, 64, 128, 256, 512, 1024],
            "downsample_factors": [[2, 1], 2, 2, 2, 2, [2, 3]],
            "attn_blocks": [0, 0, 0, 0, 0, 0],
            "dropout": 0.0,
        },
        "visual_encoder": {
            "in_channels": 64,
            "block_out_channels": [64, 128, 256, 256, 512, 1024],
            "downsample_factors": [2, 2, 2, 1, 2, 2],
            "attn_blocks": [0, 0, 0, 0, 0, 0],
            "dropout": 0.0,
        },
    },
    "16_pixel": {"audio_encoder": AUDIO_16, "visual_encoder": VISUAL_16},
    "16_pixel_attn": {
        "audio_encoder": AUDIO_16 | {"attn_blocks": [0, 0, 0, 1, 1, 0, 0]},
        "visual_encoder": VISUAL_16 | {"attn_blocks": [0, 0, 0, 0, 1, 1, 0, 0]},
    },
    "25_pixel": {  # the published file has no attn_blocks, which stops the published code
        "audio_encoder": {
            "in_channels": 1,
            "block_out_channels": [64, 128, 256, 256, 512, 1024],
            "downsample_factors": [2, 2, 2, 2, 2, 2],
            "dropout": 0.0,
        },
        "visual_encoder": {
            "in_channels": 75,
            "block_out_channels": [128, 128, 256, 256, 512, 512, 1024, 1024],
            "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2],
            "dropout": 0.0,
        },
    },
}


def small_kl(**overrides: float) -> AutoencoderKL:
    return fill_by_rule(AutoencoderKL(**golden_json("codec/tiny_kl"), **overrides))


def small_syncnet() -> StableSyncNet:
    return fill_by_rule(StableSyncNet(SyncNetConfig.from_dict(SMALL_SYNCNET)))


def rule_syncnet(name: str) -> StableSyncNet:
    return rule_filled(lambda: StableSyncNet(SyncNetConfig.from_dict(BLOCKS[name])))

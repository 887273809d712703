"""Stand-ins with rule-filled weights for the networks around the U-Net's training, and recipes that use them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from whisper.model import ModelDimensions

from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.config import read_yaml
from latentsync.models.lpips import build_lpips
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from latentsync.models.whisper import WhisperTaps
from tests.golden import fill_by_rule
from tests.models.published import on_meta

ROOT = Path(__file__).parents[2]
CODEC = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
VIDEOMAE = {
    "image_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "num_classes": 3,
}  # fmt: skip


def write_networks(folder: Path, width: int) -> list[str]:
    """Codec, audio encoder of that ``width``, sync network of the talkers, VGG and VideoMAE; as ``key=value``."""
    folder.mkdir(parents=True)
    fill_by_rule(AutoencoderKL(**CODEC)).save_pretrained(folder / "codec")
    dims = ModelDimensions(80, 1500, width, 2, 4, 10, 8, width, 2, 4)
    state = fill_by_rule(WhisperTaps(dims)).state_dict()
    torch.save({"dims": asdict(dims), "model_state_dict": state}, folder / "audio_encoder.pt")
    write_syncnet(folder)
    write_vgg(folder / "vgg.safetensors")
    save_file(fill_by_rule(VideoMAE(VideoMAEConfig(**VIDEOMAE))).state_dict(), folder / "videomae.safetensors")
    return [
        f"data.syncnet_config_path={folder}/syncnet.yaml",
        f"networks.codec={folder}/codec",
        f"networks.audio_encoder={folder}/audio_encoder.pt",
        f"networks.vgg={folder}/vgg.safetensors",
        f"networks.videomae={folder}/videomae.safetensors",
        *(f"networks.videomae_model.{key}={value}" for key, value in VIDEOMAE.items()),
    ]


def write_syncnet(folder: Path, configuration: Path = ROOT / "configs/syncnet/talkers.yaml") -> None:
    """The sync network of ``configuration`` in weights, and in a configuration that names them (``syncnet.yaml``)."""
    block = read_yaml(configuration)
    weights = folder / "syncnet.safetensors"
    block["ckpt"]["inference_ckpt_path"] = str(weights)
    (folder / "syncnet.yaml").write_text(yaml.safe_dump(block))
    config = SyncNetConfig.from_dict(block["model"])
    save_weights(weights, fill_by_rule(StableSyncNet(config)).state_dict(), config, WeightsCard("syncnet"))


def write_vgg(path: Path) -> None:
    """The layers that LPIPS reads of torchvision's file, in its usual scale."""
    draws = torch.Generator().manual_seed(0)
    trunk = {
        f"features.{name.split('.', 2)[2]}": tensor.shape
        for name, tensor in on_meta(build_lpips).state_dict().items()
        if name.startswith("net.slice")
    }
    weights = {name: torch.randn(shape, generator=draws) for name, shape in trunk.items()}
    save_file({name: w * (2 / w[0].numel()) ** 0.5 if w.ndim == 4 else 0 * w for name, w in weights.items()}, path)

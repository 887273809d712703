"""A checkpoint folder of tiny networks with rule-filled weights, in the published layout and file formats."""

from __future__ import annotations

from dataclasses import asdict

import torch
from diffusers import AutoencoderKL
from whisper.model import ModelDimensions

from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.files import fingerprint
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.whisper import WhisperTaps
from tests.golden import fill_by_rule

RESOLUTION = 64  # pixels; unless asked for another
WIDTH = 32  # of the audio features
UNET = UNetConfig(block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=WIDTH)
WHISPER = ModelDimensions(80, 1500, WIDTH, 2, 1, 10, 8, WIDTH, 2, 1)
VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [32, 32, 32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 32,
}


def write_checkpoints(folder, resolution=RESOLUTION):
    """``latentsync_unet.pt`` with its card, ``vae/`` and ``whisper/tiny.pt`` under ``folder``; returns ``folder``."""
    (folder / "whisper").mkdir(parents=True)
    (folder / "auxiliary").mkdir()
    unet = folder / "latentsync_unet.pt"
    torch.save({"global_step": 7, "state_dict": fill_by_rule(UNet3D(UNET)).state_dict()}, unet)
    write_sidecar(unet, WeightsCard(kind="unet", release="1.5", resolution=resolution, fingerprint=fingerprint(unet)))
    fill_by_rule(AutoencoderKL(**VAE)).save_pretrained(folder / "vae")
    state = fill_by_rule(WhisperTaps(WHISPER)).state_dict()
    torch.save({"dims": asdict(WHISPER), "model_state_dict": state}, folder / "whisper" / "tiny.pt")
    return folder

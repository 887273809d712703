"""Weight files for the tests: reduced networks, and full-size tables that take no room."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from latentsync.checkpoint.unet import RELEASE_1_0_NAMES
from latentsync.models.unet import UNet3D, UNetConfig
from tests.golden import fill_by_rule
from tests.models.published import published_shapes

SMALL = UNetConfig(block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16, max_frames=16)
NOISE_SHAPE = (1, 13, 2, 8, 8)  # B, C, F, h, w
AUDIO_SHAPE = (1, 2, 5, 16)  # B, F, S, D


def small_unet(config: UNetConfig = SMALL) -> UNet3D:
    """A U-Net of a few hundred thousand parameters that holds the rule's weights."""
    return fill_by_rule(UNet3D(config))


def full_size(name: str) -> dict[str, Tensor]:
    """A published network's whole table, each tensor a single zero repeated: its file is small."""
    return {key: torch.zeros(()).expand(shape) for key, shape in published_shapes(name).items()}


def as_release_1_0(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of release 1.0."""
    renamed = {}
    for name, tensor in state.items():
        for old, new in RELEASE_1_0_NAMES.items():
            head, found, tail = name.partition(f".transformer_blocks.0.{new}")
            if found and ".attentions." in head:
                name = f"{head}.transformer_blocks.0.{old}{tail}"
        renamed[name] = tensor
    return renamed


def save(path: Path, state: dict[str, Tensor], **top_level: object) -> Path:
    """A published file: ``state_dict`` and whatever else lies beside it."""
    torch.save({"state_dict": state, **top_level}, path)
    return path


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 5068000000\n"
WEB_PAGE = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>no</body></html>"
ERROR_MESSAGE = b'{"error": "Invalid credentials in Authorization header"}'

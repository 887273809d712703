"""The encoder of the temporal loss, from the file that VideoMAE v2's authors published."""

from __future__ import annotations

from pathlib import Path

import torch

from latentsync.checkpoint.tensors import fill, read_table, refuse_extras, require_tensors, tensors_under
from latentsync.models.videomae import VideoMAE, VideoMAEConfig

PUBLISHED = VideoMAEConfig()  # vit_g_hybrid_pt_1200e_ssv2_ft.pth


def load_videomae(
    path: str | Path,
    config: VideoMAEConfig = PUBLISHED,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VideoMAE:
    """The encoder in eval mode. The tensors may lie at the file's top level or under ``model`` or ``module``.

    Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` if the file is of another
    network than ``config``.
    """
    path = Path(path)
    tensors = tensors_under(path, read_table(path), "model", "module")
    with torch.device("meta"):
        network = VideoMAE(config)
    refuse_extras(path, require_tensors(path, tensors, network.state_dict(), "VideoMAE"), "VideoMAE")
    return fill(network, tensors, device, dtype)

"""Sync-network files: published ones and our own."""

from __future__ import annotations

from pathlib import Path

import torch

from latentsync.checkpoint.card import read_config
from latentsync.checkpoint.tensors import fill, mismatch, read_table, refuse_extras, require_tensors, tensors_under
from latentsync.errors import ConfigError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig


def load_syncnet(
    path: str | Path,
    config: SyncNetConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> StableSyncNet:
    """A sync network in eval mode. ``config`` may be left out for our own files, which carry theirs.

    Raises ``WeightsMissingError``, ``WeightsCorruptError``, ``WeightsMismatchError`` if the file is of another network
    than ``config``, and ``ConfigError`` if neither the file nor the caller says which network it is.
    """
    path = Path(path)
    table = read_table(path)
    config = _config_for(path, config)
    tensors = tensors_under(path, table, "state_dict")
    with torch.device("meta"):
        network = StableSyncNet(config)
    expected = network.state_dict()
    refuse_extras(path, require_tensors(path, tensors, expected, "the sync network"), "the sync network")
    return fill(network, tensors, device, dtype)


def _config_for(path: Path, asked: SyncNetConfig | None) -> SyncNetConfig:
    """The configuration inside the file, held against the one that was asked for."""
    block = read_config(path)
    if block is None:
        if asked is None:
            raise ConfigError(
                f"{path} does not say which sync network it holds.",
                remedy="Name its configuration, such as configs/syncnet/syncnet_16_pixel_attn.yaml.",
            )
        return asked
    try:
        own = SyncNetConfig.from_dict(block)
    except ConfigError as error:
        raise mismatch(path, f"describes a sync network that does not exist ({error.message})") from error
    if asked is not None and asked != own:
        raise mismatch(path, f"holds the sync network {own}, asked for was {asked}")
    return own

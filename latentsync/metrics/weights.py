"""Strict reading of the published evaluation networks: flat tables of tensors with the networks' own names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from latentsync.checkpoint.tensors import fill, read_table, refuse_extras, require_tensors, tensors_under

Network = TypeVar("Network", bound=nn.Module)

# The number of training batches that a normalisation layer has seen. Files written before PyTorch 0.4.1 lack it, and
# nothing that is computed in eval mode depends on it.
BATCH_COUNT = ".num_batches_tracked"


def load_published(
    build: Callable[[], Network], path: str | Path, name: str, device: torch.device | str = "cpu"
) -> Network:
    """The network that ``build`` makes, float32 in eval mode, with the tensors of ``path``.

    ``name`` is what errors call it. Every tensor must be there, of the right shape, and none besides; only batch counts
    may be missing. Raises ``WeightsMissingError``, ``WeightsCorruptError`` and ``WeightsMismatchError``.
    """
    path = Path(path)
    tensors = tensors_under(path, read_table(path), "state_dict")
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    counts = {entry: torch.zeros((), dtype=torch.int64) for entry in expected if entry.endswith(BATCH_COUNT)}
    tensors = counts | tensors
    refuse_extras(path, require_tensors(path, tensors, expected, name), name)
    return fill(network, tensors, device, torch.float32).requires_grad_(False)

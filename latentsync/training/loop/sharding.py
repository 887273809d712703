"""A network whose weights, gradients and optimizer state are shared out among the processes (FSDP, Zhao et al. 2023,
arXiv 2304.11277; torch's ``fully_shard``): each process holds its part, and a layer is whole only while it computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from latentsync.training.loop.ema import EMA

_EMA = "average"  # its name in the checkpoint


def shard(network: nn.Module, layers: Iterable[nn.Module], device: torch.device, dtype: torch.dtype | None) -> None:
    """Share out ``network``, equal on all processes, in place; ``layers`` are those of its modules that are gathered
    one at a time. With a ``dtype`` they compute in it; weights and sums of gradients stay in float32."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*layers, network):
        fully_shard(module, mesh=mesh, mp_policy=policy)


def is_sharded(network: nn.Module) -> bool:
    """Whether ``shard`` was called on it."""
    return isinstance(network, FSDPModule)


def whole(tensors: Mapping[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """Tensors with the parts of all processes together; every process must call this if they are shared out.

    What was shared out is gathered tensor by tensor into the memory of the host: no device holds more than one of them
    whole. Without ``keep`` a process only gives its parts to the others, and gets nothing.
    """
    found = {}
    for name, tensor in tensors.items():
        together = gathered(tensor)
        if keep:
            found[name] = together.cpu() if isinstance(tensor, DTensor) else together
    return found


def gathered(tensor: Tensor) -> Tensor:
    """As ``whole``, of one tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class Shards:
    """The parts of a sharded network, its optimizer and its EMA on the disk; every process must call
    both methods."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None) -> None:
        self._network = network
        self._optimizer = optimizer
        self._ema = ema

    def save(self, folder: Path) -> None:
        """Write all parts into ``folder``."""
        dcp.save(self._state(), checkpoint_id=folder)

    def load(self, folder: Path) -> None:
        """Bring back what ``save`` wrote."""
        state = self._state()
        dcp.load(state, checkpoint_id=folder)
        set_state_dict(
            self._network,
            self._optimizer,
            model_state_dict=state["network"],
            optim_state_dict=state["optimizer"],
        )
        if self._ema is not None:
            self._ema.load_state_dict(state[_EMA])

    def _state(self) -> dict[str, Any]:
        network, optimizer = get_state_dict(self._network, self._optimizer)
        ema = {} if self._ema is None else {_EMA: self._ema.state_dict()}
        return {"network": network, "optimizer": optimizer, **ema}

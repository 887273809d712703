"""How often the host waits for a device, counted without one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = {"item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "__bool__", "__float__", "__int__"}


class CountedWaits(TorchFunctionMode):
    """Counts what would make the host wait for a device, by name; selecting by a mask is one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        by_mask = name in ("__getitem__", "__setitem__") and any(
            isinstance(part, Tensor) and part.dtype is torch.bool for part in tree_leaves(args[1])
        )
        if name in WAITING or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class CountedCopies(TorchDispatchMode):
    """Copies between host and device that the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            waits = not (kwargs or {}).get("non_blocking", args[2] if len(args) > 2 else False)
            if source.device != result.device and waits:
                self.found.append(f"{source.device} -> {result.device}, {tuple(source.shape)}")
        return result

"""Arrays to a device and back, beside what it computes.

On CUDA both ways have a stream of their own and go through pinned memory, so neither the device nor the thread that
launches its kernels waits for a copy. Values travel in the dtype of the networks: in half precision that is half the
bytes of single precision, and not a bit less than the networks would see of them anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Upload:
    """A tensor on its way to the device."""

    tensor: Tensor
    copied: torch.cuda.Event | None = None

    def use(self) -> Tensor:
        """The tensor, for kernels that the calling thread launches from now on; does not wait."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.tensor.device)
            stream.wait_event(self.copied)
            self.tensor.record_stream(stream)
        return self.tensor


@dataclass(frozen=True, slots=True)
class Download:
    """A tensor on its way from the device."""

    tensor: Tensor
    copied: torch.cuda.Event | None = None

    def wait(self) -> np.ndarray:
        """Its values as float32; waits until they are there."""
        return self.wait_as_is().float().numpy()

    def wait_as_is(self) -> Tensor:
        """The tensor on the CPU, in its own dtype; waits until it is there."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.tensor.cpu()


class Transfer:
    """Both ways between arrays and one device. Any thread may use it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = (torch.cuda.Stream(device), torch.cuda.Stream(device)) if device.type == "cuda" else None

    def upload(self, parts: Sequence[np.ndarray], dtype: torch.dtype) -> Upload:
        """Arrays (n, ...), one after another along their first axis, on their way to the device in ``dtype``.

        On the CPU a single array is not copied, and float32 stays float32: there is nothing to save there.
        """
        if self._device.type == "cpu":
            return Upload(torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts)))
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        staged = torch.empty(shape, dtype=dtype, pin_memory=self._streams is not None)
        for part, place in zip(parts, staged.split([len(part) for part in parts]), strict=True):
            place.copy_(torch.from_numpy(part))
        if self._streams is None:
            return Upload(staged.to(self._device))
        up, _ = self._streams
        with torch.cuda.stream(up):
            return Upload(staged.to(self._device, non_blocking=True), up.record_event())

    def download(self, tensor: Tensor) -> Download:
        """A tensor of the device, which kernels of the calling thread may still have to compute, on its way back."""
        if self._streams is None:
            return Download(tensor)
        _, down = self._streams
        computed = torch.cuda.current_stream(self._device).record_event()
        with torch.cuda.stream(down):
            down.wait_event(computed)
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
            tensor.record_stream(down)
            return Download(host, down.record_event())

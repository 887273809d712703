"""A network that works beside a larger one on the same device, as the face detector does beside the generator.

On CUDA its kernels go to a stream of their own with high priority: they are few and small, and would otherwise wait for
all that the generator has launched. Its answers come back in one copy, and it computes in half precision if that gives
the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

HIGH_PRIORITY = -1
HALF_TOLERANCE = 5e-3  # relative L2 error: what half precision gives a network that it suits


class SideNetwork:
    """Runs functions of networks on ``device``. For one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._half = False
        self._stream = torch.cuda.Stream(device, priority=HIGH_PRIORITY) if device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))  # which may still be loading the weights

    def try_half(self, *functions: tuple[Callable[[Tensor], Tensor], Tensor]) -> bool:
        """Use half precision from now on, if all ``functions`` agree with themselves in single precision on their
        examples; returns whether they do. On CUDA only: a CPU is slower in it, and nobody has tried it elsewhere."""
        self._half = self._stream is not None and all(
            agrees_in_half(function, example.to(self._device)) for function, example in functions
        )
        return self._half

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Networks that the block calls run in the place and precision of this one."""
        with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._half):
            if self._stream is None:
                yield
                return
            with torch.cuda.stream(self._stream):
                yield

    def send(self, images: np.ndarray) -> Tensor:
        """An array on the device; without waiting, on CUDA."""
        tensor = torch.from_numpy(images)
        if self._stream is None:
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def fetch(self, tensors: Sequence[Tensor]) -> list[np.ndarray]:
        """Tensors (n, ...) as float32, by one copy; waits only for what this network has launched."""
        packed = torch.cat([tensor.float().flatten(1) for tensor in tensors], dim=1).cpu()
        parts = packed.split([tensor[0].numel() for tensor in tensors], dim=1)
        return [part.reshape(tensor.shape).numpy() for part, tensor in zip(parts, tensors, strict=True)]


@torch.inference_mode()
def agrees_in_half(function: Callable[[Tensor], Tensor], example: Tensor) -> bool:
    """Whether a network gives the same for ``example`` with its products in half precision, to ``HALF_TOLERANCE``."""
    wanted = function(example).float()
    with torch.autocast(example.device.type, torch.float16):
        found = function(example).float()
    error = (found - wanted).norm() / wanted.norm()
    return bool(error <= HALF_TOLERANCE)  # False for what is no number

"""A safer precision for the rest of a run whose output is faulty, and the way back for the next run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latentsync.errors import OutOfMemoryError
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.precision import works_on
from latentsync.runtime.memory import GIB, free_bytes, naming_lack_of_memory, release_memory

REMEDY = "Close other programs that use this device, or give --precision bf16 or fp32 to start with."


def precision_name(dtype: torch.dtype) -> str:
    """'float16' for ``torch.float16``, as reports have it."""
    return str(dtype).removeprefix("torch.")


class PrecisionFallback:
    """Converts the networks of ``models`` in place, from the weights as they were loaded, and restores those exactly.

    Meanwhile the loaded weights wait in the memory of the host, so a device never holds two copies.
    """

    def __init__(self, models: LatentModels) -> None:
        self._models = models
        self._loaded_as = models.dtype
        self._waiting: list[tuple[Tensor, Tensor]] = []  # each tensor of the networks, with its values as loaded

    @property
    def dtype(self) -> torch.dtype:
        """What the networks are in now."""
        return self._models.dtype

    def precisions(self) -> list[torch.dtype]:
        """The precisions to try after the loaded one, in order: bfloat16, whose range is that of float32, in half of
        its memory, where the device has it; then float32."""
        if self._loaded_as == torch.float32:
            return []
        has_bf16 = self._loaded_as != torch.bfloat16 and works_on(self._models.device, torch.bfloat16)
        return [torch.bfloat16, torch.float32] if has_bf16 else [torch.float32]

    def convert(self, dtype: torch.dtype) -> None:
        """Go on in ``dtype``. Raises ``OutOfMemoryError`` if there is no room; the networks are as before then."""
        task = f"the networks in {precision_name(dtype)}, which {precision_name(self._loaded_as)} is too coarse for"
        with self._models.lock:
            before = self._models.dtype
            try:
                with naming_lack_of_memory(task, REMEDY):
                    if not self._waiting:
                        self._waiting = [(tensor, tensor.data.to("cpu")) for tensor in _float_tensors(self._models)]
                    self._require_room(dtype, task)
                    self._fill(dtype)
            except BaseException:
                self._return_to(before)
                raise

    def restore(self) -> None:
        """Back to the weights as they were loaded, if they have been converted."""
        with self._models.lock:
            self._return_to(self._loaded_as)

    def _return_to(self, dtype: torch.dtype) -> None:
        for tensor, loaded in self._waiting:
            tensor.data = loaded  # on the host: first of all the device becomes free
        if self._waiting:
            release_memory()
            with naming_lack_of_memory(f"the networks in {precision_name(dtype)}"):
                self._fill(dtype)
        if dtype == self._loaded_as:
            self._waiting = []

    def _require_room(self, dtype: torch.dtype, task: str) -> None:
        device = self._models.device
        needed = sum(loaded.numel() * dtype.itemsize for _, loaded in self._waiting)
        if device.type != "cpu":  # on the CPU what waits is what was there
            needed -= sum(tensor.nbytes for tensor, _ in self._waiting)
        free = free_bytes(device)
        if free is not None and needed > free:
            raise OutOfMemoryError(
                f"There is not enough memory for {task}: they take {needed / GIB:.1f} GiB more, and "
                f"{free / GIB:.1f} are free on {device}.",
                remedy=REMEDY,
            )

    def _fill(self, dtype: torch.dtype) -> None:
        for tensor, loaded in self._waiting:
            tensor.data = loaded.to(self._models.device, dtype)
        self._models.converted(dtype)


def convert_all(fallbacks: Sequence[PrecisionFallback], dtype: torch.dtype) -> None:
    """Convert the same networks on several devices, or none. Raises ``OutOfMemoryError``."""
    before = [fallback.dtype for fallback in fallbacks]
    for number, fallback in enumerate(fallbacks):
        try:
            fallback.convert(dtype)
        except OutOfMemoryError:
            for done, earlier in zip(fallbacks[:number], before, strict=False):
                done.convert(earlier)
            raise


def _float_tensors(models: LatentModels) -> list[Tensor]:
    return [
        tensor
        for network in (models.unet, models.codec)
        for tensor in (*network.parameters(), *network.buffers())
        if tensor.is_floating_point()
    ]

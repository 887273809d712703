"""How many windows at once fit into the memory of a GPU, and how many pixels its codec works on at once.

The sizes were counted with the published networks (`python -m benchmarks.counted_memory`, docs/gpu.md); smaller
networks need less. All are for half precision, and twice as large in single precision.

n windows · R face side · branches = 2 with guidance, else 1
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from latentsync.models.codec import MAX_PIXELS, LatentCodec
from latentsync.runtime.memory import GIB, free_bytes

MIB = 2**20
MOST_WINDOWS = 16
CPU_WINDOWS = 1
IN_FLIGHT = 2  # batches in the hands of a CUDA device: one that it computes, one that is checked or prepared beside it
CPU_WINDOWS_BUILTIN = 4  # of the small models, at most: one for each core (``batching.SideBySide``)

CONTEXT = int(0.6 * GIB)  # of the CUDA context and the libraries' handles
# Beside the networks and what they work on: a detector at work 0.6 GiB, remembered latents 0.25, the next batch and
# what lies between two blocks of the allocator 0.2.
ASIDE = int(1.05 * GIB)
WINDOW = 142 * MIB  # of activations of the U-Net, for one window and branch at R = 256
PIECE = 140 * MIB  # of activations that do not grow with the number of windows: a feed-forward layer at work
IMAGES = 30 * MIB  # of images for one window at R = 256: faces, masked faces, references, and the results twice
CODEC_PIXEL = 1640  # bytes of activations of the codec for each pixel that it decodes
UNCOUNTED = 1.1  # work space of kernels


@dataclass(frozen=True, slots=True)
class GpuRoom:
    """What a GPU has room for. Bytes; ``free``: before the networks are loaded."""

    free: int
    networks: int
    windows: int
    codec_pixels: int
    needed: int  # by the networks and by so many windows at once

    @property
    def suffices(self) -> bool:
        """Whether at least one window fits, by the estimate."""
        return self.needed <= self.free

    def describe(self) -> str:
        """One sentence for the terminal."""
        fits = "" if self.suffices else ", which will probably not do"
        return (
            f"about {self.needed / GIB:.1f} GiB for {self.windows} windows at once, {self.networks / GIB:.1f} of them "
            f"for the networks; {self.free / GIB:.1f} GiB are free{fits}"
        )


def gpu_room(free: int, networks: int, resolution: int, branches: int, dtype: torch.dtype) -> GpuRoom:
    """What fits into ``free`` bytes besides ``networks`` bytes of weights; at least one window, fitting or not."""
    left = (free - networks - ASIDE) / UNCOUNTED
    size = dtype.itemsize / 2
    per_window = size * (WINDOW * branches + IMAGES) * (resolution / 256) ** 2
    windows = int(min(max((left - size * PIECE) / per_window, 1), MOST_WINDOWS))
    image = resolution**2
    pixels = int(min(max(left / (size * CODEC_PIXEL), image), MAX_PIXELS)) // image * image
    images = size * windows * IMAGES * (resolution / 256) ** 2
    work = max(size * PIECE + windows * per_window, size * CODEC_PIXEL * pixels + images)
    return GpuRoom(free, networks, windows, pixels, int(networks + ASIDE + UNCOUNTED * work))


def fit_codec(codec: LatentCodec, device: torch.device, dtype: torch.dtype) -> None:
    """Have the codec, whose networks have been loaded, work on as many pixels at once as fit on ``device``."""
    room = room_on(device, dtype, 256, 1)
    if room is not None:
        codec.max_pixels = room.codec_pixels


def room_on(
    device: torch.device, dtype: torch.dtype, resolution: int, branches: int, networks: int = 0
) -> GpuRoom | None:
    """What fits on ``device`` now beside ``networks`` bytes of weights that are still to be loaded; None for a CPU, and
    where nobody knows."""
    free = None if device.type == "cpu" else free_bytes(device)
    return None if free is None else gpu_room(free, networks, resolution, branches, dtype)


def batches_in_flight(device: torch.device, devices: int = 1) -> int:
    """Batches that are generated at once on so many ``devices`` like this one. Elsewhere than on a GPU one for each: a
    CPU computes with all cores already, and no other device has been tried with two threads."""
    return devices * (IN_FLIGHT if device.type == "cuda" else 1)


def auto_batch(device: torch.device, dtype: torch.dtype, resolution: int, branches: int, are_builtin: bool) -> int:
    """Windows per batch if the user does not say how many; the networks have been loaded."""
    if device.type == "cpu":
        return min(CPU_WINDOWS_BUILTIN, os.cpu_count() or 1) if are_builtin else CPU_WINDOWS
    room = room_on(device, dtype, resolution, branches)
    return 1 if room is None or device.type == "mps" else room.windows

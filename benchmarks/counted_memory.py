"""Peak memory of a dub on a GPU, counted without one: python -m benchmarks.counted_memory --cards 6,8,12,24

The published networks run on tensors without content that say they are on a GPU, in half precision and with the layout
of the product; every tensor is counted while it lives. Not counted: the work space of kernels, and what the allocator
cannot reuse. Rows: for each release what the networks take, the U-Net for some numbers of windows, the codec and the
detector (GiB); and for each card what fits there by ``inference.gpu_memory`` and what that takes, counted.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.networks import TOPOLOGIES
from benchmarks.report import publish
from latentsync.constants import LATENT_DOWNSCALE, WINDOW_FRAMES
from latentsync.inference.gpu_memory import CONTEXT, GpuRoom, gpu_room
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.models.whisper import WhisperTaps
from latentsync.runtime.memory import GIB
from latentsync.training.unet.memory import PeakMemory, nbytes

MODELS = ("1.5", "1.6")
CARDS = (6.0, 8.0, 12.0, 16.0, 24.0)
USABLE = 0.95  # of a card's nominal memory that a program may have
WINDOWS = (1, 2, 4)
BRANCHES = 2  # with guidance
AUDIO_TOKENS = 50
GPU = torch.device("cuda")
DETECTION_SHAPE = (4, 3, 360, 640)  # of S3FD: as many frames as the product gives it, of 16:9
FACES_AT_ONCE = 16


@contextmanager
def without_content() -> Iterator[None]:
    """Tensors made in the block have no content; attention is that of a fused kernel, which keeps no scores."""
    attention = "torch.nn.functional.scaled_dot_product_attention"
    with warnings.catch_warnings(), mock.patch(attention, _fused_attention), torch.no_grad():
        warnings.simplefilter("ignore")  # of libraries that look into tensors
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **options: Any) -> Tensor:
    batch, heads, tokens, _ = query.shape
    statistics = torch.empty(batch, heads, tokens, dtype=torch.float32, device=query.device)
    del statistics  # it lives as long as the result is made
    return torch.empty(batch, tokens, heads, value.shape[-1], dtype=query.dtype, device=query.device).transpose(1, 2)


def on_gpu(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``network`` in eval mode as if it were on a GPU, with channels-last convolutions as in the product."""
    for module in network.eval().modules():
        for kept in (module._parameters, module._buffers):
            for name, tensor in kept.items():
                if tensor is None or not tensor.is_floating_point():
                    continue
                moved = torch.empty(tensor.shape, dtype=dtype, device=GPU)
                if moved.ndim == 4:
                    moved = moved.to(memory_format=torch.channels_last)
                kept[name] = nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
    return network


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that tensors made by ``work`` held at once."""
    with PeakMemory() as memory:
        work()
    return memory.peak


class CountedNetworks:
    """The networks of a release without content; to be made and used inside ``without_content``."""

    def __init__(self, model: str, dtype: torch.dtype = torch.float16) -> None:
        topology = TOPOLOGIES[model]
        self.resolution, self._dtype = topology.resolution, dtype
        self._unet = on_gpu(UNet3D(topology.unet), dtype)
        self._codec = LatentCodec(on_gpu(AutoencoderKL.from_config(topology.codec), dtype))
        encoder = on_gpu(WhisperTaps(topology.whisper), torch.float32)
        self.bytes = sum(nbytes(network) for network in (self._unet, self._codec, encoder))
        self._tokens = (WINDOW_FRAMES, AUDIO_TOKENS, topology.unet.cross_attention_dim)

    def unet(self, windows: int, branches: int = BRANCHES) -> int:
        """Bytes of one evaluation beside the weights."""
        batch, side = windows * branches, self.resolution // LATENT_DOWNSCALE
        sample = self._empty(batch, self._unet.config.in_channels, WINDOW_FRAMES, side, side)
        step = torch.empty((), dtype=torch.int64, device=GPU)
        return peak_of(lambda: self._unet(sample, step, self._empty(batch, *self._tokens)))

    def codec(self, pixels: int, windows: int = 1) -> int:
        """Bytes of encoding or of decoding the frames of ``windows``, so many pixels at once: the larger of the two."""
        self._codec.max_pixels = pixels
        count, side = windows * WINDOW_FRAMES, self.resolution // LATENT_DOWNSCALE
        images = self._empty(count, 3, self.resolution, self.resolution)
        latents = self._empty(count, self._codec.channels, side, side)
        return max(peak_of(lambda: self._codec.encode(images)), peak_of(lambda: self._codec.decode(latents)))

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(*shape, dtype=self._dtype, device=GPU)


@dataclass(frozen=True, slots=True)
class CountedDetector:
    """Bytes of the networks of face-alignment, and of the most that one of them takes at work."""

    networks: int
    work: int


def count_detector() -> CountedDetector:
    """S3FD on four frames and 2D-FAN on sixteen faces, in single precision; inside ``without_content``."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    boxes, points = on_gpu(s3fd(), torch.float32), on_gpu(FAN(4), torch.float32)
    frames = torch.empty(DETECTION_SHAPE, device=GPU)
    faces = torch.empty(FACES_AT_ONCE, 3, 256, 256, device=GPU)
    work = max(peak_of(lambda: boxes(frames)), peak_of(lambda: points(faces)))
    return CountedDetector(nbytes(boxes) + nbytes(points), work)


def room_on(card: int, networks: CountedNetworks, detector: CountedDetector) -> GpuRoom:
    """What the product takes as fitting on a card of ``card`` bytes with nothing else on it."""
    there = networks.bytes + detector.networks
    return gpu_room(card - CONTEXT, there, networks.resolution, BRANCHES, torch.float16)


def peak_on(room: GpuRoom, networks: CountedNetworks, detector: CountedDetector) -> int:
    """Bytes of a dub in that room, with the context: U-Net or codec at work, and the detector beside them."""
    work = max(networks.unet(room.windows), networks.codec(room.codec_pixels, room.windows))
    return CONTEXT + networks.bytes + detector.networks + detector.work + work


def measure(models: list[str], cards: list[float]) -> list[dict[str, Any]]:
    """The rows."""
    rows: list[dict[str, Any]] = []
    with without_content():
        detector = count_detector()
        rows.append({"detector": detector.networks / GIB, "at work": detector.work / GIB})
        for model in models:
            networks = CountedNetworks(model)
            row: dict[str, Any] = {"model": model, "networks": networks.bytes / GIB}
            row |= {f"unet {count}": networks.unet(count) / GIB for count in WINDOWS}
            image = networks.resolution**2
            row |= {f"codec {count} images": networks.codec(count * image) / GIB for count in (1, 4)}
            rows.append(row)
            for card in cards:
                room = room_on(int(card * USABLE * GIB), networks, detector)
                rows.append(
                    {
                        "model": model,
                        "card": card,
                        "windows": room.windows,
                        "codec images": room.codec_pixels // image,
                        "expected": (room.needed + CONTEXT) / GIB,
                        "counted": peak_on(room, networks, detector) / GIB,
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(TOPOLOGIES)}")
    parser.add_argument("--cards", default=",".join(f"{card:g}" for card in CARDS), help="GiB")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    cards = [float(card) for card in options.cards.split(",") if card]
    publish("counted_memory", {"rows": measure(options.models.split(","), cards)}, output=options.output)


if __name__ == "__main__":
    main()

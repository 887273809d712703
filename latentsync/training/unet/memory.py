"""How much memory a step of a U-Net's training takes, and what follows from it, on any machine and without weights.

The step is run on tensors without content.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from latentsync.checkpoint import build_codec
from latentsync.constants import FEATURES_PER_FRAME, LATENT_DOWNSCALE, SYNCNET_MEL_BANDS
from latentsync.data.batches import UNetBatch
from latentsync.models.codec import LatentCodec
from latentsync.models.lpips import build_lpips
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE
from latentsync.recipe import UNetRecipe
from latentsync.runtime.memory import free_bytes
from latentsync.training.loop.precision import training_dtype
from latentsync.training.unet.latents import LatentBatch, PosteriorBatch, StepDraws, draw_latents, encode_batch
from latentsync.training.unet.networks import (
    LossConfig,
    LossNetworks,
    choose_trained,
    loss_config_of,
    make_objective,
    sync_dtype,
    videomae_config,
)
from latentsync.types import Denoiser, FeatureCache

logger = logging.getLogger(__name__)

GIB = 2**30

Network = TypeVar("Network", bound=nn.Module)

_TOKENS = FEATURES_PER_FRAME * 5  # of audio per frame, with the hidden states of Whisper tiny
_GPU = torch.device("cuda")
_UNCOUNTED = 1.1  # of an estimate, see MemoryEstimate


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on each device: what lies there all the time, and the peak of what a step adds to it.

    Not counted: the framework itself, the work space of its kernels, and what its allocator cannot reuse; a tenth more
    than the sum is a fair guess. AdamW's fused step, clipping and the EMA work in place.
    """

    weights: int  # of the trained network, trained or not
    optimizer: int  # AdamW's two moments and the EMA, of what is trained
    frozen: int  # the networks around it
    step: int  # activations and gradients
    trained: int  # of the weights, those that are trained; not part of the sum

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.optimizer + self.frozen + self.step

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name) / GIB:.1f}" for name in ("weights", "optimizer", "frozen", "step"))
        return f"about {self.total / GIB:.1f} GiB on each device ({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class DubEstimate:
    """Bytes that the images of a validation take: ``copy`` of the network, and the peak of the ``work`` with it."""

    copy: int
    work: int


class PeakMemory(TorchDispatchMode):
    """Within the block, ``peak`` is the most bytes that tensors made in it held at once; views of tensors that were
    there before are none."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._seen.setdefault(tensor.untyped_storage(), True)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = True
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self._now -= size


def nbytes(network: nn.Module, trained_only: bool = False) -> int:
    """Of a network's parameters and, unless only the trained ones count, its buffers."""
    tensors: list[Tensor] = [p for p in network.parameters() if p.requires_grad or not trained_only]
    if not trained_only:
        tensors += list(network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def settle_checkpointing(recipe: UNetRecipe, device: torch.device, processes: int = 1) -> UNetRecipe:
    """The recipe with ``run.enable_gradient_checkpointing`` true or false; both give the same gradients.

    ``auto`` becomes false where a step that keeps its activations fits what is free on ``device``, which the
    ``processes`` of the training share if it is no GPU. A sharded network is one that lacks memory: true.
    """
    run = recipe.run
    if run.enable_gradient_checkpointing != "auto":
        return recipe
    saving, keeping = (replace(recipe, run=replace(run, enable_gradient_checkpointing=on)) for on in (True, False))
    if run.sharded:
        return saving
    estimate = estimate_memory(keeping, device)
    buckets = estimate.trained if processes > 1 else 0  # the gradients once more, to be exchanged
    dub = estimate_dub(keeping, device)
    needed = _UNCOUNTED * (estimate.total + buckets + dub.copy + dub.work)
    free = _free_bytes(device, processes)
    fits = needed <= free
    if PartialState().is_main_process:
        logger.info(
            "Gradient checkpointing is %s: without it a step takes about %.1f GiB, and %.1f are free.",
            "off" if fits else "on",
            needed / GIB,
            free / GIB,
        )
    return keeping if fits else saving


def estimate_memory(recipe: UNetRecipe, device: torch.device = _GPU) -> MemoryEstimate:
    """Run a step of the recipe on tensors without content: seconds to a minute of work, no memory to speak of.

    It has the precisions of ``device``; nothing is put there. ``auto`` checkpointing counts as true.
    """
    losses = loss_config_of(recipe)
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that look into tensors
        network = choose_trained(UNet3D(UNetConfig.from_dict(recipe.model)), recipe).train()
        codec = _cast(build_codec(recipe.networks.codec), training_dtype(recipe.run, device))
        networks = _fresh_loss_networks(recipe, losses, device)
        objective = make_objective(recipe, losses, networks, codec)
        with PeakMemory() as memory:
            batch, draws = _batch(recipe, codec)
            objective(_mixed(recipe, network, device), batch, draws).total.backward()
        trained = nbytes(network, trained_only=True)
        teacher = None if recipe.student is None else _cast(UNet3D(network.config), training_dtype(recipe.run, device))
        frozen = (codec, networks.sync, networks.perceptual, networks.trepa, teacher)
        return MemoryEstimate(
            weights=nbytes(network),
            optimizer=(3 if recipe.run.ema_decay else 2) * trained,
            frozen=sum(nbytes(x) for x in frozen if x is not None),
            step=memory.peak,
            trained=trained,
        )


def estimate_dub(recipe: UNetRecipe, device: torch.device = _GPU) -> DubEstimate:
    """What the images of a validation of the recipe take on ``device``, one window at a time; nothing where it is no
    GPU. As ``estimate_memory``, in seconds."""
    if device.type == "cpu":
        return DubEstimate(0, 0)
    data, config, dtype = recipe.data, UNetConfig.from_dict(recipe.model), training_dtype(recipe.run, device)
    passes, side = 1 if recipe.run.guidance_scale == 1 else 2, data.resolution // LATENT_DOWNSCALE
    with FakeTensorMode(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = _cast(UNet3D(config).eval(), dtype)
        codec = _cast(build_codec(recipe.networks.codec), dtype)
        sample = torch.empty(passes, config.in_channels, data.num_frames, side, side, dtype=dtype)
        audio = torch.empty(passes, data.num_frames, _TOKENS, config.cross_attention_dim, dtype=dtype)
        with PeakMemory() as one_step:
            network(sample, torch.zeros((), dtype=torch.int64), audio)
        with PeakMemory() as one_decoding:
            codec.decode(torch.empty(data.num_frames, config.out_channels, side, side, dtype=dtype)).float()
        return DubEstimate(nbytes(network), max(one_step.peak, one_decoding.peak))


def _free_bytes(device: torch.device, processes: int) -> int:
    """What a process may take on ``device`` now."""
    free = free_bytes(device)
    if free is None:  # nobody knows: as much as it takes to be careful
        return 0
    return free if device.type == "cuda" else free // processes


def _fresh_loss_networks(recipe: UNetRecipe, losses: LossConfig, device: torch.device) -> LossNetworks:
    dtype = training_dtype(recipe.run, device)
    sync = None
    if losses.sync is not None:
        sync = _cast(StableSyncNet(SyncNetConfig.from_dict(losses.sync.model)), sync_dtype(dtype))
    return LossNetworks(
        sync=sync,
        perceptual=None if losses.perceptual is None else build_lpips(),
        trepa=None if losses.trepa is None else _cast(VideoMAE(videomae_config(recipe)), dtype),
    )


def _cast(network: Network, dtype: torch.dtype) -> Network:
    """As ``network.to(dtype)``, which does not take tensors without content."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_floating_point():
                module._parameters[name] = nn.Parameter(parameter.detach().to(dtype))
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.to(dtype)
    return network


def _batch(recipe: UNetRecipe, codec: LatentCodec) -> tuple[LatentBatch, StepDraws]:
    """A batch of the recipe's shapes, with the encoding before it unless the latents come from a cache."""
    data = recipe.data
    clips, frames, side = data.batch_size, data.num_frames, data.resolution // LATENT_DOWNSCALE
    channels = recipe.model["out_channels"]
    pixels = torch.empty(clips, frames, 3, data.resolution, data.resolution, dtype=torch.uint8)
    latents = torch.empty(clips, channels, frames, side, side)
    audio = torch.empty(clips, frames, _TOKENS, recipe.model["cross_attention_dim"])
    mel = torch.empty(clips, 1, SYNCNET_MEL_BANDS, -(-frames * 16 // 5))
    keep_mask = torch.empty(1, data.resolution, data.resolution)
    draws = StepDraws(torch.zeros(clips, dtype=torch.int64), latents)
    if data.cache_latents:
        posterior = torch.empty(clips, frames, 2, channels, side, side)
        cached = PosteriorBatch(posterior, posterior + 0, posterior + 0, pixels, keep_mask, audio, mel, ())
        return draw_latents(cached, torch.empty(3, clips, frames, channels, side, side)), draws
    windows = UNetBatch(pixels, pixels + 0, keep_mask, audio, mel, ())
    return encode_batch(codec, windows, torch.empty(3, clips, frames, channels, side, side)), draws


def _mixed(recipe: UNetRecipe, network: UNet3D, device: torch.device) -> Denoiser:
    """The network in the precision that it trains in on ``device``, a CPU always in float32. bfloat16 takes what
    float16 takes and is known to the CPU's autocast."""
    mixed = training_dtype(recipe.run, device) is not torch.float32

    def forward(
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor,
        *,
        feature_cache: FeatureCache | None = None,
        guided: bool = False,
    ) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            return network(sample, timestep, audio, feature_cache=feature_cache, guided=guided)

    return forward
